"""Checkpoints that TensorFlow 1's own layers wrote, against their imports."""

import functools
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import Architecture
from affwild_omg.serving.options import ExportOptions
from affwild_omg.weights.options import ImportOptions

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRU = "rnn/multi_rnn_cell/cell_{}/gru_cell"
VGG = {"landmarks": False, "units": 5, "width": 8 / 64, "fc_units": 24 * 8}
CNN = {"landmarks": False, "recurrence": "none"}
RESNET = {
    "backbone": "resnet50_slim",
    "taps": ("pool",),
    "landmarks": False,
    "units": 5,
}
ARCHITECTURES = {  # of what tf1_writer.py writes
    "cnn_gru_3rnn": Architecture(taps=("conv5_3", "pool5", "fc"), **VGG),
    "cnn_gru_1rnn": Architecture(
        taps=("fc", "pool5"), recurrence="joint", **VGG
    ),
    "vgg_gru": Architecture(taps=("fc",), **VGG),
    "vgg_cnn": Architecture(
        taps=("fc",),
        head_units=11,
        **(VGG | {"recurrence": "none", "units": 128}),
    ),
    "resnet_gru": Architecture(**RESNET),
    "resnet_cnn": Architecture(
        width=8 / 64, **(RESNET | {"recurrence": "none", "units": 128})
    ),
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
def inputs(results):
    frames = results["frames"]
    return {"frames": frames, "mask": np.ones(frames.shape[:2], bool)}


@pytest.fixture(scope="module")
def importer(tf):
    from affwild_omg.weights import tf1 as tf1_checkpoint

    return tf1_checkpoint


@pytest.fixture(scope="module")
def imported(shelf, importer, tmp_path_factory):
    """Gives the model file that a checkpoint of the shelf becomes."""
    folder = tmp_path_factory.mktemp("imported")

    @functools.cache
    def imported(name):
        return importer.convert(
            ImportOptions(
                checkpoint=str(shelf / name / "model.ckpt-7"),
                output=str(folder / f"{name}.keras"),
                sequence_length=20,
            )
        )

    return imported


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


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_predicts_what_tensorflow_1_did(
    tf, imported, inputs, results, name
):
    from affwild_omg.inference.predictor import load_predictor

    predictor = load_predictor(imported(name))
    assert predictor.targets == ("valence", "arousal")
    assert predictor.card.architecture == ARCHITECTURES[name]
    assert predictor.card.sequence_length == 20
    expected = results[name]
    # Frames differ and so do sequences, or agreement would say little.
    assert expected.std(axis=(0, 1)).min() > 0.03
    assert np.abs(expected[0] - expected[1]).max() > 0.03
    np.testing.assert_allclose(
        predictor.predict(inputs), expected, rtol=0, atol=1e-5
    )


def swap_rows(weights, name, first, second):
    rows = weights[name]
    weights[name] = np.concatenate([rows[second], rows[first]])


def swap_gates(weights, layer):
    for name in ("kernel", "bias", "recurrence/step/recurrent_kernel"):
        update, reset, candidate = np.split(
            weights[f"{layer}/{name}"], 3, axis=-1
        )
        weights[f"{layer}/{name}"] = np.concatenate(
            [reset, update, candidate], axis=-1
        )


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("vgg_gru", lambda weights: swap_gates(weights, "fc_gru1")),
        ("vgg_gru", lambda weights: swap_gates(weights, "fc_gru2")),
        (
            "cnn_gru_3rnn",
            lambda weights: swap_rows(
                weights, "output/kernel", slice(0, 5), slice(5, 15)
            ),
        ),
        (
            "cnn_gru_1rnn",
            lambda weights: swap_rows(
                weights, "joint_gru1/kernel", slice(0, 24), slice(24, None)
            ),
        ),
        (
            "resnet_cnn",
            lambda weights: swap_rows(
                weights,
                "conv5_unit3_3_bn/moving_mean",
                slice(0, 1),
                slice(1, None),
            ),
        ),
    ],
    ids=["gates", "upper gates", "rnns", "taps", "normalisation"],
)
def test_mistakes_would_be_seen(
    importer, shelf, inputs, results, name, mistake
):
    from affwild_omg.nets import models, parts

    architecture, weights = importer.read(shelf / name / "model.ckpt-7")
    mistake(weights)
    model = models.build(architecture)
    for key, variable in parts.named_weights(model).items():
        variable.assign(weights[key])
    wrong = model(inputs, training=False).numpy()
    assert np.abs(wrong - results[name]).max() > 1e-3


@pytest.mark.parametrize(
    "name", [name for name in ARCHITECTURES if "gru" in name]
)
def test_the_names_of_both_eras_give_the_same_network(importer, shelf, name):
    new = importer.read(shelf / name)
    old = importer.read(shelf / f"{name}_old")
    assert new[0] == old[0] == ARCHITECTURES[name]
    assert_same_weights(new[1], old[1])


def test_a_scope_around_everything_makes_no_difference(
    importer, shelf, changed, caplog
):
    def change(variables):
        outside = np.zeros((11, 2), np.float32)
        return {"linear3_1/weights": outside} | {
            f"tower_0/{name}:0": x for name, x in variables.items()
        }

    plain = importer.read(shelf / "vgg_cnn")
    prefix = changed("vgg_cnn", change)
    with caplog.at_level("INFO", logger="absl"):
        scoped = importer.read(prefix)
    assert scoped[0] == plain[0]
    assert_same_weights(scoped[1], plain[1])
    assert caplog.messages[-1] == "not used: linear3_1/weights"


@pytest.mark.parametrize(
    "suffix", ["", "/model.ckpt-7.index", "/model.ckpt-7.data-00000-of-00001"]
)
def test_a_file_or_a_folder_stands_for_its_checkpoint(importer, shelf, suffix):
    architecture, _ = importer.read(f"{shelf / 'vgg_cnn'}{suffix}")
    assert architecture == ARCHITECTURES["vgg_cnn"]


def test_what_is_recognised_and_what_is_left_is_logged(
    importer, changed, caplog
):
    def change(variables):
        variables["linear2_1/weights"] = np.zeros(3, np.float32)
        variables["auxiliary/weights"] = np.zeros(3, np.float32)

    prefix = changed("vgg_gru", change)
    with caplog.at_level("INFO", logger="absl"):
        _, weights = importer.read(prefix)
    parameters = sum(x.size for x in weights.values())
    assert caplog.messages == [
        f"--checkpoint={prefix} is AffWildNet of VGG-Face: backbone "
        "vgg_face at width 0.125, taps fc, 2 GRU layers of 5 units; "
        f"{parameters:,} parameters",
        # Neither the counters nor Adam's slots, which lie there too.
        "not used: auxiliary/weights, linear2_1/weights",
    ]


def test_everything_is_used_and_counted(importer, shelf, caplog):
    with caplog.at_level("INFO", logger="absl"):
        for name in ARCHITECTURES:
            importer.read(shelf / name)
    assert len(caplog.messages) == len(ARCHITECTURES)
    assert not any("not used" in message for message in caplog.messages)


def test_normalisation_without_gamma_has_ones(importer, changed):
    prefix = changed(
        "resnet_cnn",
        lambda variables: {
            name: x for name, x in variables.items() if "gamma" not in name
        },
    )
    _, weights = importer.read(prefix)
    gammas = [name for name in weights if name.endswith("gamma")]
    assert len(gammas) == 53
    assert all((weights[name] == 1).all() for name in gammas)


def test_landmarks_are_told_by_the_rows_that_they_feed(importer, changed):
    rows = {}

    def change(variables):
        kernel = variables["linear_1/weights"]
        rows["fc/kernel"] = np.concatenate([kernel, kernel[:136]])
        variables["linear_1/weights"] = rows["fc/kernel"]

    architecture, weights = importer.read(changed("vgg_gru", change))
    assert architecture.landmarks
    np.testing.assert_array_equal(weights["fc/kernel"], rows["fc/kernel"])


def test_other_depths_and_units_are_read_off(importer, changed):
    def change(variables):
        for name in list(variables):
            if "cell_1" in name:
                third = name.replace("cell_1", "cell_2")
                variables[third] = variables[name]

    architecture, weights = importer.read(changed("vgg_gru", change))
    assert (architecture.depth, architecture.units) == (3, 5)
    np.testing.assert_array_equal(
        weights["fc_gru3/kernel"], weights["fc_gru2/kernel"]
    )


def replaced(name, *shape):
    def change(variables):
        variables[name] = np.zeros(shape, np.float32)

    return change


def without(*names):
    def change(variables):
        for name in names:
            del variables[name]

    return change


def diverged(variables):
    variables["conv_3/biases"][2] = np.nan


CANDIDATE = f"rnn_1/{GRU.format(1)}/candidate/kernel"
BAD = {
    "missing": (
        "vgg_gru",
        without("conv_4/biases", CANDIDATE),
        ["AffWildNet of VGG-Face, but lacks", "conv_4/biases", CANDIDATE],
    ),
    "missing and sized by": (
        "vgg_cnn",
        without("linear_1/weights", "linear3_1/weights"),
        ["lacks linear_1/weights, linear3_1/weights;"],
    ),
    "misfit": (
        "vgg_gru",
        replaced("conv_3/weights", 3, 3, 8, 17),
        ["conv_3/weights is 3x3x8x17", "ask for 3x3x8x16"],
    ),
    "misfit of a GRU": (
        "cnn_gru_3rnn",
        replaced(f"rnn_fc_1/{GRU.format(0)}/gates/kernel", 24 + 6, 12),
        ["rnn_fc_1/", "gates/kernel is 30x12", "ask for 29x10"],
    ),
    "wide": (
        "vgg_cnn",
        replaced("conv_1/weights", 3, 3, 3, 96),
        ["conv_1/weights has 96 channels", "64 at most"],
    ),
    "large crops": (
        "vgg_cnn",
        replaced("linear_1/weights", 4 * 4 * 64, 24),
        ["has 1024 rows", "96x96 give 576, or 712 with landmarks"],
    ),
    "one target": (
        "vgg_cnn",
        replaced("linear3_1/weights", 11, 1),
        ["linear3_1/weights has 1 columns", "2 outputs, valence and arousal"],
    ),
    "ImageNet": (
        "resnet_cnn",
        replaced("resnet_v1_50/logits/weights", 1, 1, 256, 1000),
        ["resnet_v1_50/logits/weights has 1000 columns"],
    ),
    "no such network": (
        "vgg_cnn",
        lambda variables: {"a/b": variables["conv_1/weights"]},
        ["holds a/b, which is none of", "CNN_GRU_3RNN, CNN_GRU_1RNN"],
    ),
    "backbone alone": (
        "vgg_cnn",
        lambda variables: {
            name: x for name, x in variables.items() if "conv" in name
        },
        ["holds conv_1/biases, conv_1/weights", " and 22 more, which is none"],
    ),
    "no numbers": (
        "vgg_gru",
        diverged,
        ["conv_3/biases holds values that are no numbers"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_the_authors_network_is_refused(importer, changed, case):
    name, change, words = BAD[case]
    prefix = changed(name, change)
    with pytest.raises(UserError) as raised:
        importer.read(prefix)
    message = str(raised.value)
    assert message.startswith(f"--checkpoint={prefix}")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_checkpoint_of_tensorflow_2_is_refused(tf, importer, tmp_path):
    path = tf.train.Checkpoint(x=tf.Variable(1.0)).save(str(tmp_path / "ckpt"))
    with pytest.raises(UserError, match="checkpoint of TensorFlow 2"):
        importer.read(path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def corrupt(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("fault", [truncate, corrupt, pathlib.Path.unlink])
def test_damage_to_the_data_is_told(importer, shelf, tmp_path, fault):
    shutil.copytree(shelf / "vgg_cnn", tmp_path / "copy")
    fault(tmp_path / "copy" / "model.ckpt-7.data-00000-of-00001")
    with pytest.raises(UserError, match="copy/model.ckpt-7 is damaged, incom"):
        importer.read(tmp_path / "copy")


@pytest.mark.parametrize("fault", [truncate, corrupt])
def test_damage_to_the_index_is_told(importer, shelf, tmp_path, fault):
    shutil.copytree(shelf / "vgg_cnn", tmp_path / "copy")
    fault(tmp_path / "copy" / "model.ckpt-7.index")
    with pytest.raises(UserError, match="copy/model.ckpt-7 is damaged, incom"):
        importer.read(tmp_path / "copy")


def test_a_checkpoint_that_is_not_there_is_told(importer, shelf, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such checkpoint; give "):
        importer.read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="with 0 checkpoints; .*/model.ckpt-0$"):
        importer.read(tmp_path)
    for name in ("vgg_cnn", "vgg_gru"):
        for file in (shelf / name).glob("model*"):
            shutil.copy(file, tmp_path / f"{name}.{file.name}")
    with pytest.raises(UserError, match="with 2 checkpoints; give one, as in"):
        importer.read(tmp_path)
    text = tmp_path / "text.ckpt"
    text.write_text("this is no checkpoint")
    with pytest.raises(UserError, match="no TensorFlow checkpoint"):
        importer.read(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output": "model.h5"}, "must end in .keras"),
        ({"output": "folder.keras"}, "is a folder"),
        ({"output": "there.keras"}, "--overwrite"),
        ({"sequence_length": 0}, "at least 1, not 0"),
        ({"checkpoint": "nowhere", "output": "new/m.keras"}, "no such"),
    ],
)
def test_outputs_that_cannot_be_are_told_and_nothing_is_left(
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


def test_an_imported_model_can_be_exported(tf, imported, results, tmp_path):
    from affwild_omg.serving import saved_model as exporting

    path = exporting.export(
        ExportOptions(
            model=str(imported("vgg_cnn")), output=str(tmp_path / "saved")
        )
    )
    saved = tf.saved_model.load(str(path))
    frames = results["frames"]
    found = saved.signatures["serving_default"](
        frames=tf.constant(frames),
        landmarks=tf.zeros((*frames.shape[:2], 68, 2)),
    )
    np.testing.assert_allclose(
        np.stack([found["valence"], found["arousal"]], axis=-1),
        results["vgg_cnn"],
        rtol=0,
        atol=1e-5,
    )


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "affwild_omg.importers.tf1", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )


def test_the_command_line_writes_a_model(shelf, tmp_path):
    from affwild_omg.weights import model_file as model_files

    output = tmp_path / "new" / "model.keras"
    done = run(
        f"--checkpoint={shelf / 'vgg_gru'}",
        f"--output={output}",
        "--sequence_length=60",
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == f"model in {output}"
    # And by the flags that it shows, the network is the same one.
    flags = dict(
        flag.removeprefix("--").split("=")
        for flag in second.partition("train.py ")[2].split()
    )
    assert flags == {
        "records": "...",
        "workdir": "...",
        "init_from": str(output),
        "architecture": "vgg_face",
        "recurrence": "per_tap",
        "units": "5",
        "fc_units": "192",
        "landmarks": "false",
        "width": "0.125",
    }
    assert "is AffWildNet of VGG-Face" in done.stderr
    assert os.listdir(output.parent) == ["model.keras"]
    card = model_files.read_card(output)
    assert card.architecture == ARCHITECTURES["vgg_gru"]
    assert card.sequence_length == 60


def test_the_command_line_overwrites_only_when_told(
    importer, imported, shelf, tmp_path
):
    from affwild_omg.weights import model_file as model_files

    path = tmp_path / "model.keras"
    shutil.copy(imported("vgg_cnn"), path)
    options = ImportOptions(checkpoint=str(shelf / "vgg_gru"), output=str(path))
    importer.convert(options, overwrite=True)
    assert model_files.read_card(path).architecture == ARCHITECTURES["vgg_gru"]


def test_help_is_quick_and_complete():
    program = (
        "import runpy, sys\n"
        "sys.argv = ['tf1', '--help']\n"
        "try:\n"
        "    runpy.run_module('affwild_omg.import_tf1', "
        "run_name='__main__')\n"
        "finally:\n"
        "    print('imported', *sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *text, modules = done.stdout.splitlines()
    assert not {"keras", "numpy", "tensorflow"} & set(modules.split())
    for flag in ("checkpoint", "output", "sequence_length", "[no]overwrite"):
        assert any(f"--{flag}" in line for line in text)
