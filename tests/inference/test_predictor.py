import shutil

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from tests.nets.networks import inputs


@pytest.fixture(scope="module")
def predictors(tf):
    from affwild_omg.inference import predictor

    return predictor


DATA = "variables/variables.data-00000-of-00001"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (DATA, lambda content: content[:-1]),
        (DATA, lambda content: content[:99] + b"?" + content[100:]),
        ("variables/variables.index", lambda content: content[:-1]),
        ("fingerprint.pb", lambda content: b"?" + content[1:]),
        ("saved_model.pb", lambda content: content[: len(content) // 2]),
        (
            "saved_model.pb",
            lambda content: content.replace(b"MatMul", b"MatMuk"),
        ),
        ("assets.extra/card.json", lambda content: content[:-9]),
    ],
)
def test_a_damaged_saved_model_is_told_in_a_line(
    predictors, small_saved_model, tmp_path, caplog, name, damage
):
    path = shutil.copytree(small_saved_model, tmp_path / "saved")
    file = path / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match="--model=.*saved(: its| is damaged)"):
        predictors.load_predictor(path)
    assert not caplog.records


def test_a_saved_model_without_state_predicts(tf, predictors, tmp_path):
    """As earlier versions exported them, or others make them."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, 96, 96, 3), tf.uint8, "frames"),
            tf.TensorSpec((None, None, 68, 2), tf.float32, "landmarks"),
            tf.TensorSpec((None, None), tf.bool, "mask"),
        ]
    )
    def masked(frames, landmarks, mask):
        brightness = tf.reduce_mean(tf.cast(frames, tf.float32), (2, 3, 4))
        place = tf.reduce_mean(landmarks, (2, 3))
        return {"arousal": place, "valence": tf.where(mask, brightness, 0)}

    tf.saved_model.save(tf.Module(), str(tmp_path), {"masked": masked})
    predictor = predictors.Predictor.from_saved_model(tmp_path)
    assert predictor.card is None
    assert predictor.targets == ("valence", "arousal")
    batch = inputs(2, 3)
    batch["mask"][1, 2] = False
    values = predictor.predict(batch)
    valence = np.where(batch["mask"], batch["frames"].mean((2, 3, 4)), 0)
    np.testing.assert_allclose(values[..., 0], valence, rtol=1e-4)
    arousal = batch["landmarks"].mean((2, 3))
    np.testing.assert_allclose(values[..., 1], arousal, rtol=1e-4)
    with pytest.raises(UserError, match="earlier version, .*; export it again"):
        predictor.step(batch, np.zeros((2, 0), np.float32))


def test_only_a_saved_model_is_taken_for_one(predictors, small_run):
    workdir = small_run[0].workdir
    with pytest.raises(UserError, match="is not a SavedModel"):
        predictors.Predictor.from_saved_model(workdir)
    assert predictors.load_predictor(workdir).state_size == 24
