"""Checkpoints written by TensorFlow 1's own layers, against their imports."""

import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import Architecture
from affwild_omg.weights.options import ImportOptions

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRU = "rnn/multi_rnn_cell/cell_{}/gru_cell"
VGG = {"landmarks": False, "width": 8 / 64, "fc_units": 24 * 8}
RESNET = {
    "backbone": "resnet50_slim",
    "taps": ("pool",),
    "landmarks": False,
}
ARCHITECTURES = {  # of what tf1_writer.py writes
    "cnn_gru_3rnn": Architecture(
        taps=("conv5_3", "pool5", "fc"), units=5, **VGG
    ),
    "cnn_gru_1rnn": Architecture(
        taps=("fc", "pool5"), recurrence="joint", units=5, **VGG
    ),
    "vgg_gru": Architecture(taps=("fc",), units=5, **VGG),
    "vgg_cnn": Architecture(
        taps=("fc",), recurrence="none", head_units=11, **VGG
    ),
    "resnet_gru": Architecture(units=5, width=16 / 64, **RESNET),
    "resnet_cnn": Architecture(recurrence="none", width=8 / 64, **RESNET),
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """The folder that tf1_writer.py filled; to be read only."""
    folder = tmp_path_factory.mktemp("tf1")
    done = subprocess.run(
        [sys.executable, str(pathlib.Path(__file__).with_name("tf1_writer.py"))]
        + [str(folder)],
        env=os.environ | {"TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def results(shelf):
    return np.load(shelf / "results.npz")


@pytest.fixture(scope="module")
def importer(tf):
    from affwild_omg.weights import tf1 as importer

    return importer


@pytest.fixture(scope="module")
def imported(shelf, importer):
    """Gives the network and the architecture of a checkpoint by its name."""
    return functools.cache(lambda name: importer.read(shelf / name))


@pytest.fixture
def changed(tf, shelf, tmp_path):
    """Writes a checkpoint of the shelf with some variables changed."""

    def changed(name, change):
        reader = tf.train.load_checkpoint(str(shelf / name / "model.ckpt-7"))
        variables = {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
        }
        variables = change(variables) or variables
        prefix = str(tmp_path / "changed" / "model.ckpt-7")
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=list(variables),
            shape_and_slices=[""] * len(variables),
            tensors=[tf.constant(x) for x in variables.values()],
        )
        return prefix

    return changed


def predict(model, results):
    frames = results["frames"]
    mask = np.ones(frames.shape[:2], bool)
    return model({"frames": frames, "mask": mask}, training=False).numpy()


def weights_of(model):
    from affwild_omg.nets import parts

    return {
        name: weight.numpy()
        for name, weight in parts.named_weights(model).items()
    }


def assert_same_weights(first, second):
    first, second = weights_of(first), weights_of(second)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_predicts_what_tensorflow_1_did(
    imported, results, name, caplog
):
    with caplog.at_level("INFO", logger="absl"):
        model, architecture = imported(name)
    # Every variable is used; counters and Adam's slots are not mentioned.
    assert not any("not used" in message for message in caplog.messages)
    assert architecture == ARCHITECTURES[name]
    expected = results[name]
    # Frames and sequences differ, or agreement would prove little.
    assert expected.std(axis=(0, 1)).min() > 0.03
    assert np.abs(expected[0] - expected[1]).max() > 0.03
    np.testing.assert_allclose(
        predict(model, results), expected, rtol=0, atol=1e-5
    )


def test_the_names_of_tensorflow_1_1_give_the_same_network(
    importer, imported, changed
):
    def change(variables):
        return {
            re.sub("(gru_cell/.*/)kernel$", r"\1weights", name)
            if "kernel" in name
            else re.sub("(gru_cell/.*/bias)$", r"\1es", name): x
            for name, x in variables.items()
        }

    old = importer.read(changed("cnn_gru_3rnn", change))
    assert old[1] == ARCHITECTURES["cnn_gru_3rnn"]
    assert_same_weights(old[0], imported("cnn_gru_3rnn")[0])


def test_a_file_stands_for_its_checkpoint(importer, shelf):
    for file in (shelf / "vgg_cnn").glob("model*"):
        _, architecture = importer.read(file)
        assert architecture == ARCHITECTURES["vgg_cnn"]


def test_the_network_and_unused_variables_are_logged(importer, changed, caplog):
    def change(variables):
        variables["linear2_1/weights"] = np.zeros(3, np.float32)
        variables["auxiliary/weights"] = np.zeros(3, np.float32)

    prefix = changed("vgg_gru", change)
    with caplog.at_level("INFO", logger="absl"):
        model, _ = importer.read(prefix)
    parameters = sum(x.size for x in weights_of(model).values())
    assert caplog.messages == [
        f"--checkpoint={prefix} is AffWildNet of VGG-Face; {parameters:,} "
        "parameters",
        "not used: auxiliary/weights, linear2_1/weights",
    ]


def test_normalisation_without_gamma_has_ones(importer, changed):
    prefix = changed(
        "resnet_cnn",
        lambda variables: {
            name: x for name, x in variables.items() if "gamma" not in name
        },
    )
    weights = weights_of(importer.read(prefix)[0])
    gammas = [name for name in weights if name.endswith("gamma")]
    assert len(gammas) == 53
    assert all((weights[name] == 1).all() for name in gammas)


def test_landmarks_are_recognised_by_their_rows(importer, changed):
    def change(variables):
        kernel = variables["linear_1/weights"]
        variables["linear_1/weights"] = np.concatenate([kernel, kernel[:136]])

    model, architecture = importer.read(changed("vgg_gru", change))
    assert architecture.landmarks
    kernel = weights_of(model)["fc/kernel"]
    assert kernel.shape == (576 + 136, 24)
    np.testing.assert_array_equal(kernel[576:], kernel[:136])


def test_depth_and_units_are_read_from_the_checkpoint(importer, changed):
    def change(variables):
        for name in list(variables):
            if "cell_1" in name:
                third = name.replace("cell_1", "cell_2")
                variables[third] = variables[name]

    model, architecture = importer.read(changed("vgg_gru", change))
    assert (architecture.depth, architecture.units) == (3, 5)
    weights = weights_of(model)
    np.testing.assert_array_equal(
        weights["fc_gru3/kernel"], weights["fc_gru2/kernel"]
    )


def replaced(name, *shape):
    return lambda variables: variables | {name: np.zeros(shape, np.float32)}


def without(*names):
    return lambda variables: {
        name: x for name, x in variables.items() if name not in names
    }


def diverged(variables):
    variables["conv_3/biases"][2] = np.nan


CANDIDATE = f"rnn_1/{GRU.format(1)}/candidate/kernel"
BAD = {
    "missing": (
        "vgg_gru",
        without("conv_4/biases", CANDIDATE),
        ["AffWildNet of VGG-Face, but lacks", "conv_4/biases", CANDIDATE],
    ),
    "without what gives a size": (
        "vgg_cnn",
        without("linear_1/weights", "linear3_1/weights"),
        ["lacks linear_1/weights, linear3_1/weights;"],
    ),
    "misfit": (
        "vgg_gru",
        replaced("conv_3/weights", 3, 3, 8, 17),
        ["conv_3/weights is 3x3x8x17", "require 3x3x8x16"],
    ),
    "wide": (
        "vgg_cnn",
        replaced("conv_1/weights", 3, 3, 3, 96),
        ["looks like VGG-Face CNN, but width must be in (0, 1], not 1.5"],
    ),
    "backbone alone": (
        "vgg_cnn",
        lambda variables: {
            name: x for name, x in variables.items() if "conv" in name
        },
        [" and 22 more, which is none of", ": CNN_GRU_3RNN, CNN_GRU_1RNN"],
    ),
    "NaN": (
        "vgg_gru",
        diverged,
        ["conv_3/biases holds values that are not finite"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_other_networks_are_refused(importer, changed, case):
    name, change, words = BAD[case]
    prefix = changed(name, change)
    with pytest.raises(UserError) as raised:
        importer.read(prefix)
    message = str(raised.value)
    assert message.startswith(f"--checkpoint={prefix}")
    assert "\n" not in message
    for word in words:
        assert word in message


def corrupt(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("suffix", "fault"),
    [
        ("data-00000-of-00001", corrupt),
        ("data-00000-of-00001", pathlib.Path.unlink),
        ("index", corrupt),
    ],
)
def test_damaged_files_are_refused(importer, shelf, tmp_path, suffix, fault):
    shutil.copytree(shelf / "vgg_cnn", tmp_path / "copy")
    fault(tmp_path / "copy" / f"model.ckpt-7.{suffix}")
    with pytest.raises(UserError, match="copy is not .* damaged or incomplete"):
        importer.read(tmp_path / "copy")


def test_what_is_no_checkpoint_is_refused(importer, tmp_path):
    text = tmp_path / "text.ckpt"
    text.write_text("this is not a checkpoint")
    for path in (text, tmp_path):
        with pytest.raises(UserError, match=f"{path} is not a checkpoint of"):
            importer.read(path)
    with pytest.raises(UserError, match="nowhere does not exist"):
        importer.read(tmp_path / "nowhere")
    for name in ("first.index", "second.index"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="2 checkpoints; .*=.*/second$"):
        importer.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output": "folder.keras"}, "is a folder"),
        ({"output": "there.keras"}, "--overwrite"),
        ({"checkpoint": "nowhere"}, "does not exist"),
    ],
)
def test_a_refusal_leaves_nothing(
    importer, shelf, tmp_path, monkeypatch, changes, words
):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("folder.keras").mkdir()
    pathlib.Path("there.keras").write_text("an earlier model")
    good = {"checkpoint": str(shelf / "vgg_cnn"), "output": "new/model.keras"}
    with pytest.raises(UserError, match=words):
        importer.convert(ImportOptions(**(good | changes)))
    assert sorted(os.listdir()) == ["folder.keras", "there.keras"]
    assert pathlib.Path("there.keras").read_text() == "an earlier model"


def test_a_model_file_is_written_and_replaced(
    importer, imported, shelf, tmp_path
):
    from affwild_omg.weights import model_file

    path = tmp_path / "new" / "model.keras"
    for name, length in (("vgg_cnn", 20), ("vgg_gru", 60)):
        options = ImportOptions(
            checkpoint=str(shelf / name),
            output=str(path),
            sequence_length=length,
        )
        importer.convert(options, overwrite=path.exists())
        assert os.listdir(path.parent) == ["model.keras"]
        model, card = model_file.load_model(path)
        assert card.architecture == ARCHITECTURES[name]
        assert card.sequence_length == length
        assert_same_weights(model, imported(name)[0])


@pytest.mark.slow  # test_a_model_file_is_written_and_replaced is fast
def test_the_command_line_shows_the_flags_of_the_network(shelf, tmp_path):
    output = tmp_path / "new" / "model.keras"
    done = subprocess.run(
        [sys.executable, "-m", "affwild_omg.importers.tf1"]
        + [f"--checkpoint={shelf / 'vgg_gru'}", f"--output={output}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == f"model in {output}"
    assert f"--init_from={output} --architecture=cnn_3rnn --taps=fc" in second
    assert "is AffWildNet of VGG-Face" in done.stderr
