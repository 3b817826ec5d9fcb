import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.serving.options import ExportOptions

STRANGER = """
import sys

import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
inputs = dict(np.load(sys.argv[2]))
masked = model.signatures["masked"](
    **{name: tf.constant(x) for name, x in inputs.items()}
)
del inputs["mask"]
plain = model.signatures["serving_default"](
    **{name: tf.constant(x) for name, x in inputs.items()}
)
np.savez(
    sys.argv[3],
    **{f"masked_{name}": x.numpy() for name, x in masked.items()},
    **{f"plain_{name}": x.numpy() for name, x in plain.items()},
)
assert not {"keras", "affwild_omg"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def exporting(tf):
    from affwild_omg.serving import saved_model as exporting

    return exporting


@pytest.fixture(scope="module")
def keras_model(small_run):
    from affwild_omg.weights import model_file as model_files

    return model_files.load_model(small_run[0].workdir)[0]


@pytest.fixture
def export(exporting):
    def export(model, output, **settings):
        options = ExportOptions(model=str(model), output=str(output))
        return exporting.export(options, **settings)

    return export


def make_inputs(batch, time, seed=0):
    random = np.random.default_rng(seed)
    mask = random.uniform(size=(batch, time)) < 0.7
    mask[0] = False  # a window without a face
    return {
        "frames": random.integers(0, 256, (batch, time, 96, 96, 3), np.uint8),
        "landmarks": random.uniform(0, 96, (batch, time, 68, 2)).astype(
            np.float32
        ),
        "mask": mask,
    }


def medians(values, mask):
    return [
        np.median(x[m]) if m.any() else np.nan
        for x, m in zip(values, mask, strict=True)
    ]


def test_signatures_name_everything(tf, small_saved_model):
    signatures = tf.saved_model.load(str(small_saved_model)).signatures
    assert set(signatures) == {"serving_default", "masked"}
    expected = {
        "frames": ((None, None, 96, 96, 3), tf.uint8),
        "landmarks": ((None, None, 68, 2), tf.float32),
        "mask": ((None, None), tf.bool),
    }
    for name, signature in signatures.items():
        _, inputs = signature.structured_input_signature
        assert {
            key: (tuple(spec.shape), spec.dtype) for key, spec in inputs.items()
        } == {
            key: spec
            for key, spec in expected.items()
            if name == "masked" or key != "mask"
        }
        assert set(signature.structured_outputs) == {
            "valence",
            "arousal",
            "sequence_valence",
            "sequence_arousal",
        }


def test_it_runs_where_there_is_tensorflow_alone(
    small_saved_model, keras_model, tmp_path
):
    inputs = make_inputs(3, 7)
    np.savez(tmp_path / "inputs.npz", **inputs)
    # TensorFlow asks where Keras lies, even when it never imports it: a
    # stand-in that cannot be imported answers.
    for name in ("keras", "tf_keras", "affwild_omg"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, "-c", STRANGER]
        + [str(small_saved_model), "inputs.npz", "outputs.npz"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    outputs = np.load(tmp_path / "outputs.npz")
    everything = np.ones_like(inputs["mask"])
    for kind, mask in (("masked", inputs["mask"]), ("plain", everything)):
        values = keras_model(inputs | {"mask": mask}, training=False).numpy()
        for column, target in enumerate(("valence", "arousal")):
            found = outputs[f"{kind}_{target}"]
            assert found.shape == (3, 7) and found.dtype == np.float32
            np.testing.assert_allclose(
                found[mask], values[..., column][mask], atol=1e-5
            )
            np.testing.assert_allclose(
                outputs[f"{kind}_sequence_{target}"],
                medians(values[..., column], mask),
                atol=1e-5,
            )


def test_one_target_gives_its_outputs_only(tf, export, small_run, tmp_path):
    from affwild_omg.inference.predictor import load_predictor
    from affwild_omg.nets import models
    from affwild_omg.training import loop as training
    from affwild_omg.weights import model_file as model_files

    card = training.card_of(small_run[0])
    card = dataclasses.replace(
        card,
        architecture=dataclasses.replace(
            card.architecture, targets=("arousal",), taps=("fc",)
        ),
    )
    model = models.build(card.architecture)
    model_files.save_model(model, card, tmp_path / "m.keras")
    export(tmp_path / "m.keras", tmp_path / "saved")
    predictor = load_predictor(tmp_path / "saved")
    assert predictor.targets == ("arousal",)
    assert predictor.card == card
    inputs = make_inputs(2, 3)
    np.testing.assert_allclose(
        predictor.predict(inputs)[inputs["mask"]],
        model(inputs, training=False).numpy()[inputs["mask"]],
        atol=1e-5,
    )


def test_masked_median(tf, exporting):
    values = np.array(
        [[4, 1, 9, 2], [4, 1, 9, 2], [4, 1, 9, 2], [5, 6, 7, 8], [1, 1, 1, 1]],
        np.float32,
    )
    mask = np.array(
        [[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0] * 4], bool
    )
    found = exporting.masked_median(tf.constant(values), tf.constant(mask))
    np.testing.assert_array_equal(found, [3, 4, 9, 6.5, np.nan])


def test_overwriting_leaves_nothing_of_the_old(
    export, small_run, small_saved_model, tmp_path
):
    target = tmp_path / "saved"
    (target / "variables").mkdir(parents=True)
    (target / "variables" / "variables.data-00000-of-00007").touch()
    with pytest.raises(UserError, match="--output=.* is not empty"):
        export(small_run[0].workdir, target)
    export(small_run[0].workdir, target, overwrite=True)

    def files(folder):
        return {
            str(path.relative_to(folder))
            for path in pathlib.Path(folder).rglob("*")
        }

    assert files(target) == files(small_saved_model)


def test_nothing_is_left_when_the_model_cannot_be_loaded(
    export, small_saved_model, tmp_path
):
    with pytest.raises(UserError, match="is a SavedModel; give the workdir"):
        export(small_saved_model, tmp_path / "new" / "saved")
    assert not list(tmp_path.iterdir())
