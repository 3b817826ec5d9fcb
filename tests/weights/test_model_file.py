import dataclasses
import json
import zipfile

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import Architecture
from affwild_omg.published.networks import named


@pytest.fixture(scope="module")
def model_files(tf):
    from affwild_omg.weights import model_file as model_files

    return model_files


def make(model_files, **fields):
    from affwild_omg.nets import models

    card = model_files.Card(
        architecture=named("cnn_1rnn", width=0.03, units=3, **fields),
        sequence_length=17,
    )
    return models.build(card.architecture, seed=1), card


def inputs():
    random = np.random.default_rng(0)
    return {
        "frames": random.integers(0, 255, (2, 3, 96, 96, 3), np.uint8),
        "landmarks": random.uniform(0, 96, (2, 3, 68, 2)).astype("f"),
        "mask": np.array([[True, True, False], [True, True, True]]),
    }


@pytest.mark.parametrize(
    "fields",
    [{}, {"targets": ("arousal",), "landmarks": False, "taps": ("conv2_1",)}],
)
def test_a_model_file_says_what_it_is(model_files, tmp_path, fields):
    from affwild_omg.inference.predictor import load_predictor

    model, card = make(model_files, **fields)
    path = tmp_path / "best.keras"
    model_files.save_model(model, card, path)
    for place in (path, tmp_path):  # a folder stands for its best model
        predictor = load_predictor(place)
        assert predictor.card == card
        assert predictor.targets == card.architecture.targets
        np.testing.assert_allclose(
            predictor.predict(inputs()),
            model({t.name: inputs()[t.name] for t in model.inputs}),
            atol=1e-7,
        )


def test_a_card_of_another_version_is_told(model_files, tmp_path):
    model, card = make(model_files)
    path = tmp_path / "m.keras"
    model_files.save_model(model, card, path)
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name == model_files.CARD:
                text = text.replace(b'"taps"', b'"tapes"')
            new.writestr(name, text)
    with pytest.raises(UserError, match="--model=.*card.json is of another"):
        model_files.load_model(other)


def test_a_keras_file_from_elsewhere_is_refused(model_files, tmp_path):
    model, _ = make(model_files)
    path = tmp_path / "plain.keras"
    model.save(path)
    with pytest.raises(UserError, match="not a model file of this project"):
        model_files.load_model(path)


def test_no_code_of_a_file_runs(model_files, tmp_path):
    """A config that names any function of Python is not even read."""
    model, card = make(model_files)
    path = tmp_path / "m.keras"
    model_files.save_model(model, card, path)
    harm = tmp_path / "harm"
    config = {
        "module": "builtins",
        "class_name": "function",
        "config": f"open({str(harm)!r}, 'w')",
        "registered_name": "function",
    }
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = json.dumps(config)
            new.writestr(name, content)
    loaded, _ = model_files.load_model(other)
    for one, two in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not harm.exists()


def test_a_card_of_another_network_is_found_out(model_files, tmp_path):
    model, card = make(model_files)
    path = tmp_path / "m.keras"
    wider = dataclasses.replace(card.architecture, units=4)
    model_files.save_model(
        model, dataclasses.replace(card, architecture=wider), path
    )
    with pytest.raises(UserError, match="--model=.* is damaged or not a model"):
        model_files.load_model(path)


def test_a_card_holds_a_fusion(model_files):
    card = model_files.Card(
        architecture=named(
            "model_fusion_fc",
            members=["cnn2_to_1rnn", Architecture(taps=("conv3_1",))],
            fusion_units=9,
            gru="cudnn",
        ),
        sequence_length=3,
    )
    assert model_files.Card.from_json(card.to_json()) == card
    assert card.architecture.members[0].gru == "cudnn"


def test_nothing_is_left_when_saving_fails(model_files, tmp_path, monkeypatch):
    model, card = make(model_files)

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_files.zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space left"):
        model_files.save_model(model, card, tmp_path / "m.keras")
    assert list(tmp_path.iterdir()) == []
