"""Golden frames against changed steps: each is named, and no other."""

import shutil

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError


@pytest.fixture(scope="module")
def golden(tf):
    from affwild_omg.inference import golden

    return golden


@pytest.fixture(scope="module")
def predictor(golden, small_saved_model):
    from affwild_omg.inference.predictor import Predictor

    return Predictor.from_saved_model(small_saved_model)


@pytest.fixture
def saved(small_saved_model, tmp_path):
    return shutil.copytree(small_saved_model, tmp_path / "saved")


def rewrite(saved, golden, **changes):
    """Changes what was recorded: {name: function}."""
    path = saved / golden.GOLDEN / golden.RECORD
    recorded = dict(np.load(path))
    recorded |= {name: f(recorded[name]) for name, f in changes.items()}
    np.savez(path, **recorded)


def test_nothing_differs_where_it_was_exported(
    golden, predictor, small_saved_model, small_run
):
    steps = golden.verify(small_saved_model, predictor)
    assert [x.name for x in steps] == ["decode", "landmarks", "crop", "network"]
    assert [x.difference for x in steps[:3]] == [0, 0, 0]
    assert steps[3].difference < 1e-5
    # What was recorded is the face, and the checkpoint's value of it.
    recorded = np.load(small_saved_model / golden.GOLDEN / golden.RECORD)
    assert recorded["decode"].shape == (3, 256, 256, 3)
    points = recorded["landmarks"]
    assert np.ptp(points, axis=1).min() > 60
    np.testing.assert_allclose(points[2, 30] - points[0, 30], [4, 0], atol=1)
    assert recorded["network"].shape == (3, 2)
    from affwild_omg.inference.predictor import load_predictor

    of_workdir = load_predictor(small_run[0].workdir)
    assert golden.verify(small_saved_model, of_workdir)[3].difference < 1e-5


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        # Each shift is seen where it arises, and where it is used.
        ("decode", lambda x: x // 2, "decode differs by 1.3e.02 levels of 255"),
        ("landmarks", lambda x: x + [0, 2], "landmarks differs by 2 pixels"),
        ("crop", lambda x: x ^ 8, "crop differs by 8 levels"),
        ("network", lambda x: x + 2e-4, "network differs by 0.0002 of a value"),
    ],
)
def test_a_step_that_differs_is_named(
    golden, predictor, saved, name, change, words
):
    rewrite(saved, golden, **{name: change})
    steps = golden.replay(saved, predictor)
    (own,) = [step for step in steps if step.name == name]
    assert not own.same
    before = steps[: steps.index(own)]
    assert all(step.same for step in before)
    with pytest.raises(UserError, match=words):
        golden.verify(saved, predictor)


def test_a_network_that_gives_nan_differs(golden, predictor, saved):
    import dataclasses

    def nan(inputs):
        return predictor.predict(inputs) * np.nan

    other = dataclasses.replace(predictor, predict=nan)
    *others, network = golden.replay(saved, other)
    assert all(step.same for step in others) and not network.same


def test_golden_frames_may_be_damaged_or_missing(golden, predictor, saved):
    record = saved / golden.GOLDEN / golden.RECORD
    content = record.read_bytes()
    record.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="golden frames are damaged"):
        golden.verify(saved, predictor)
    shutil.rmtree(saved / golden.GOLDEN)
    with pytest.raises(UserError, match="has no golden frames"):
        golden.verify(saved, predictor)


def test_predict_verifies_before_it_begins(golden, saved, tmp_path):
    from affwild_omg.inference import video
    from affwild_omg.inference.options import PredictionOptions

    how = {"model": str(saved), "video": "a.mp4", "output": str(tmp_path)}
    options = PredictionOptions(verify=True, **how)
    assert video.Models.load(options).predictor.card
    rewrite(saved, golden, crop=lambda x: x ^ 8)
    with pytest.raises(UserError, match="crop differs by 8 levels"):
        video.Models.load(options)
    with pytest.raises(UserError, match="does not go with --precision=auto"):
        PredictionOptions(verify=True, precision="auto", **how)
