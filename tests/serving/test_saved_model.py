import dataclasses
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
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
    from affwild_omg.serving import exporting

    return exporting


@pytest.fixture(scope="module")
def keras_model(small_run):
    from affwild_omg.weights import model_file as model_files

    return model_files.load_model(small_run[0].workdir)[0]


@pytest.fixture
def export(exporting):
    def export(model, output, overwrite=False, **settings):
        options = ExportOptions(
            model=str(model), output=str(output), **settings
        )
        return exporting.export(options, overwrite=overwrite)

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


def call(signature, inputs):
    """Calls a signature with arrays, and returns arrays."""
    import tensorflow as tf

    outputs = signature(**{name: tf.constant(x) for name, x in inputs.items()})
    return {name: x.numpy() for name, x in outputs.items()}


def medians(values, mask):
    return [
        np.median(x[m]) if m.any() else 0
        for x, m in zip(values, mask, strict=True)
    ]


def test_signatures_name_everything(tf, saved):
    frames = {"frames": ((None, None, 96, 96, 3), tf.uint8)}
    images = {"images": ((None, None), tf.string)}
    landmarks = {"landmarks": ((None, None, 68, 2), tf.float32)}
    mask = {"mask": ((None, None), tf.bool)}
    length = {"length": ((None,), tf.int32)}
    # Two layers of 4 units on three taps.
    state = {"state": ((None, 24), tf.float32)}
    found = {
        name: {
            key: (tuple(spec.shape), spec.dtype)
            for key, spec in signature.structured_input_signature[1].items()
        }
        for name, signature in saved.signatures.items()
    }
    assert found == {
        "serving_default": frames | landmarks,
        "masked": frames | landmarks | mask,
        "padded": frames | landmarks | mask | length,
        "encoded": images | landmarks | mask | length,
        "step": frames | landmarks | mask | length | state,
    }
    of_frames = {"valence", "arousal", "valid"}
    of_sequences = {f"sequence_{name}" for name in of_frames}
    for name, signature in saved.signatures.items():
        others = {"state"} if name == "step" else of_sequences
        assert set(signature.structured_outputs) == of_frames | others


def test_each_weight_is_stored_once(small_saved_model, keras_model):
    (data,) = (small_saved_model / "variables").glob("variables.data-*")
    parameters = keras_model.count_params()
    # What is more describes the variables.
    assert 1 <= data.stat().st_size / (4 * parameters) < 1.05


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
                found, np.where(mask, values[..., column], 0), atol=1e-5
            )
            np.testing.assert_allclose(
                outputs[f"{kind}_sequence_{target}"],
                medians(values[..., column], mask),
                atol=1e-5,
            )
        np.testing.assert_array_equal(outputs[f"{kind}_valid"], mask)
        np.testing.assert_array_equal(
            outputs[f"{kind}_sequence_valid"], mask.any(axis=1)
        )


def padded_by_server(*requests):
    """Joins requests as TensorFlow Serving batches them.

    With pad_variable_length_inputs it fills each tensor up to the longest with
    the tensor's own first element (batching_util.cc).
    """
    batch = {}
    for name in requests[0]:
        shapes = [request[name].shape[1:] for request in requests]
        largest = np.max(shapes, axis=0).astype(int)
        rows = []
        for request in requests:
            x = request[name]
            missing = largest - x.shape[1:]
            widths = [(0, 0), *((0, count) for count in missing)]
            rows.append(
                np.pad(x, widths, constant_values=x.flat[0])
                if x.dtype != object
                else np.array(
                    [[*x[0], *[x.flat[0]] * missing[0]]], dtype=object
                )
            )
        batch[name] = np.concatenate(rows)
    return batch


def request(time, seed):
    """A sequence whose first frame, with which a server pads, has a face."""
    inputs = make_inputs(2, time, seed)
    inputs = {name: x[1:] for name, x in inputs.items()}
    inputs["mask"][0, 0] = True
    return inputs | {"length": np.array([time], np.int32)}


def png(frames):
    import cv2

    return np.array(
        [
            [cv2.imencode(".png", frame[..., ::-1])[1].tobytes() for frame in x]
            for x in frames
        ],
        dtype=object,
    )


@pytest.mark.parametrize("name", ["padded", "encoded", "step"])
def test_padding_by_a_server_changes_no_answer(saved, name):
    requests = [request(3, seed=1), request(7, seed=2)]
    if name == "encoded":
        for inputs in requests:
            inputs["images"] = png(inputs.pop("frames"))
    if name == "step":
        for seed, inputs in enumerate(requests):
            random = np.random.default_rng(seed)
            inputs["state"] = random.normal(size=(1, 24)).astype("f")
    together = call(saved.signatures[name], padded_by_server(*requests))
    for row, inputs in enumerate(requests):
        alone = call(saved.signatures[name], inputs)
        time = inputs["length"][0]
        assert not together["valid"][row, time:].any()
        for key, expected in alone.items():
            found = together[key][row : row + 1]
            if expected.shape[1:] == (time,):  # one a frame
                found = found[:, :time]
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_padding_by_a_server_harms_who_gives_no_length(saved):
    """Why `padded` is there."""
    requests = [request(3, seed=1), request(7, seed=2)]
    for inputs in requests:
        del inputs["length"]
    together = call(saved.signatures["masked"], padded_by_server(*requests))
    assert together["valid"][0, 3:].all()
    alone = call(saved.signatures["masked"], requests[0])
    assert together["sequence_valence"][0] != alone["sequence_valence"][0]


def test_what_stands_behind_the_length_has_no_effect(saved, keras_model):
    inputs = make_inputs(3, 6) | {"length": np.array([6, 4, 0], np.int32)}
    inputs["mask"][1:] = True
    found = call(saved.signatures["padded"], inputs)
    counts = np.arange(6) < inputs["length"][:, None]
    counts &= inputs.pop("mask")
    del inputs["length"]
    values = keras_model(inputs | {"mask": counts}, training=False).numpy()
    np.testing.assert_array_equal(found["valid"], counts)
    np.testing.assert_array_equal(found["sequence_valid"], [False, True, False])
    np.testing.assert_allclose(
        found["arousal"], np.where(counts, values[..., 1], 0), atol=1e-5
    )


def test_crops_may_come_as_files(tf, saved):
    inputs = make_inputs(2, 4)
    images = png(inputs["frames"])
    images[~inputs["mask"]] = b""  # not looked at
    expected = call(saved.signatures["masked"], inputs)
    del (encoded := dict(inputs))["frames"]
    encoded |= {"images": images, "length": np.array([4, 4], np.int32)}
    found = call(saved.signatures["encoded"], encoded)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=1e-6)
    # A JPEG is decoded as those of records are.
    jpeg = tf.io.encode_jpeg(inputs["frames"][1, 0], quality=95).numpy()
    pixels = np.asarray(PIL.Image.open(io.BytesIO(jpeg)))
    one = {"frames": pixels[None, None], "mask": np.array([[True]])}
    one["landmarks"] = inputs["landmarks"][:1, :1]
    expected = call(saved.signatures["masked"], one)
    del one["frames"]
    one |= {"images": np.array([[jpeg]], object), "length": np.array([1], "i4")}
    found = call(saved.signatures["encoded"], one)
    np.testing.assert_allclose(found["valence"], expected["valence"], atol=1e-6)
    for bad in (b"", b"no image", png(np.zeros((1, 1, 95, 96, 3)))[0, 0]):
        one["images"][0, 0] = bad
        with pytest.raises(tf.errors.InvalidArgumentError):
            call(saved.signatures["encoded"], one)


def test_pieces_with_their_state_are_one_video(saved, small_saved_model):
    from affwild_omg.inference.predictor import Predictor

    predictor = Predictor.from_saved_model(small_saved_model)
    assert predictor.state_size == 24
    inputs = make_inputs(2, 9, seed=3)
    mask = inputs["mask"]
    expected = predictor.predict(inputs)
    state, found = np.zeros((2, 24), np.float32), []
    for place in (slice(1), slice(1, 3), slice(3, 9)):
        piece = {name: x[:, place] for name, x in inputs.items()}
        values, state = predictor.step(piece, state)
        found.append(values)
    found = np.concatenate(found, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not state[0].any() and state[1].all()  # the first has no face
    values = call(saved.signatures["masked"], inputs)
    np.testing.assert_array_equal(expected[..., 1], values["arousal"])
    assert not expected[~mask].any()


def test_answers_are_strict_json(saved):
    """A window without a face is in them; JSON has no NaN."""
    found = call(saved.signatures["masked"], make_inputs(2, 3))
    text = json.dumps(
        {k: x.tolist() for k, x in found.items()}, allow_nan=False
    )
    assert json.loads(text)["sequence_valid"] == [False, True]


def test_versions_stand_side_by_side(
    export, small_run, small_saved_model, tmp_path
):
    from affwild_omg.inference.predictor import load_predictor

    model, base = small_run[0].workdir, tmp_path / "served"
    for version in ("2", "12"):
        shutil.copytree(small_saved_model, base / version)
        (base / version / "old").touch()
    with pytest.raises(UserError, match="served/2 is not empty"):
        export(model, base, version=2)
    assert export(model, base, version=2, overwrite=True) == base / "2"
    assert sorted(path.name for path in base.iterdir()) == ["12", "2"]
    assert (base / "2" / "variables" / "variables.index").exists()
    assert not (base / "2" / "old").exists() and (base / "12" / "old").exists()
    (base / "3").mkdir()
    (base / "3" / "photo.jpg").touch()
    with pytest.raises(UserError, match=r"what export wrote, and .*/3 is not"):
        export(model, base, version=3, overwrite=True)
    assert (base / "3" / "photo.jpg").exists()
    with pytest.raises(UserError, match="served/2 is what export wrote itself"):
        export(model, base / "2", version=3)
    with pytest.raises(
        UserError, match="holds folders that export wrote.* such as .*served/12"
    ):
        load_predictor(base)


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


def test_masked_median(tf):
    from affwild_omg.serving import saved_model

    values = np.array(
        [[4, 1, 9, 2], [4, 1, 9, 2], [4, 1, 9, 2], [5, 6, 7, 8], [1, 1, 1, 1]],
        np.float32,
    )
    mask = np.array(
        [[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0] * 4], bool
    )
    found = saved_model.masked_median(tf.constant(values), tf.constant(mask))
    np.testing.assert_array_equal(found, [3, 4, 9, 6.5, 0])


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
    with pytest.raises(
        UserError, match="is what export wrote; give the workdir"
    ):
        export(small_saved_model, tmp_path / "new" / "saved")
    assert not list(tmp_path.iterdir())
