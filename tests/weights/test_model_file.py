import dataclasses
import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import VGG_CONVS, Architecture
from affwild_omg.paper.treatment import Treatment
from affwild_omg.published.networks import named


@pytest.fixture(scope="module")
def model_file(tf):
    from affwild_omg.weights import model_file

    return model_file


def make(model_file, **fields):
    from affwild_omg.nets import models

    card = model_file.Card(
        architecture=named("cnn_1rnn", width=0.03, units=3, **fields),
        sequence_length=17,
        crops={"brightness": (80.25, 190.0), "blur": (0.3, 0.5)},
        computation={"precision": "bfloat16", "tf32": False},
    )
    return models.build(card.architecture, seed=1), card


def rewritten(path, change):
    """Copies an archive; `change` maps name and content to new content."""
    other = path.with_name("other.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return other


def test_what_keras_leaves_beside_a_large_model_goes(
    model_file, tmp_path, monkeypatch
):
    """Where it lies, it counts as half written, and the next one removes it."""
    from keras.src.saving import saving_lib

    # As if no model fitted into memory: its weights go to a file before.
    monkeypatch.setattr(saving_lib, "is_memory_sufficient", lambda _: False)
    make_file, folders = saving_lib.tempfile.NamedTemporaryFile, []

    def noted(dir):
        folders.append(dir)
        return make_file(dir=dir)

    model, card = make(model_file)
    path = tmp_path / "best.keras"
    with monkeypatch.context() as patch:
        patch.setattr(saving_lib.tempfile, "NamedTemporaryFile", noted)
        model_file.save_model(model, card, path)
    (folder,) = folders
    path.unlink()
    folder.mkdir()
    (folder / "tmp01").touch()  # as a kill leaves it
    assert model_file.files.is_empty(tmp_path)
    model_file.save_model(model, card, path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_and_its_folder_give_the_model_back(model_file, tmp_path):
    model, card = make(model_file, targets=("arousal",), landmarks=False)
    model_file.save_model(model, card, tmp_path / "best.keras")
    for place in (tmp_path / "best.keras", tmp_path):
        loaded, read = model_file.load_model(place)
        assert read == card == model_file.read_card(place)
        for one, two in zip(loaded.weights, model.weights, strict=True):
            np.testing.assert_array_equal(one, two)


# As files of the first versions have them.
PLACES = {
    "cnn_2rnn": {
        **{f"conv2d_{i}": conv for i, conv in enumerate(VGG_CONVS) if i},
        **{"conv2d": "conv1_1", "dense": "fc", "dense_1": "output"},
        **{"gru": "pool5_gru1", "gru_1": "fc_gru1"},
        **{"gru_2": "pool5_gru2", "gru_3": "fc_gru2"},
    },
    "affwildnet": {
        "frame_batch_normalization": "conv1_bn",
        "frame_batch_normalization_26": "conv4_unit1_shortcut_bn",
    },
}


@pytest.mark.parametrize("name", PLACES)
def test_files_of_earlier_versions_can_be_loaded(model_file, tmp_path, name):
    from affwild_omg.nets import models

    backbone = {"affwildnet": "resnet50_slim"}.get(name, "vgg_face")
    network = named(name, backbone=backbone, width=0.03, units=3)
    model = models.build(network)
    for index, weight in enumerate(model.weights):
        weight.assign(np.full(weight.shape, index))
    card = model_file.Card(architecture=network, sequence_length=1)
    model_file.save_model(model, card, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        file = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    for place, layer in PLACES[name].items():
        weights = model.get_layer(layer).get_weights()
        group = file[f"layers/{place}"]
        if "gru" in place:
            recurrent = group["recurrence/cell/vars/0"]
            np.testing.assert_array_equal(recurrent, weights.pop())
        assert len(group["vars"]) == len(weights)
        for index, weight in enumerate(weights):
            np.testing.assert_array_equal(group[f"vars/{index}"], weight)


def test_a_card_of_another_version_is_refused(model_file, tmp_path):
    model, card = make(model_file)
    path = tmp_path / "m.keras"
    model_file.save_model(model, card, path)
    other = rewritten(
        path, lambda name, content: content.replace(b'"taps"', b'"tapes"')
    )
    with pytest.raises(UserError, match="--model=.*card.json is of another"):
        model_file.load_model(other)


def test_a_keras_file_from_elsewhere_is_refused(model_file, tmp_path):
    model, _ = make(model_file)
    path = tmp_path / "plain.keras"
    model.save(path)
    with pytest.raises(UserError, match="not a model file of this project"):
        model_file.load_model(path)
    other = path.rename(tmp_path / "model.zip")
    with pytest.raises(UserError, match="does not end in .keras"):
        model_file.load_model(other)


def test_no_code_of_a_file_runs(model_file, tmp_path):
    """A config that names any function of Python is not even read."""
    model, card = make(model_file)
    path = tmp_path / "m.keras"
    model_file.save_model(model, card, path)
    harm = tmp_path / "harm"
    config = {
        "module": "builtins",
        "class_name": "function",
        "config": f"open({str(harm)!r}, 'w')",
        "registered_name": "function",
    }
    other = rewritten(
        path,
        lambda name, content: (
            json.dumps(config) if name == "config.json" else content
        ),
    )
    loaded, _ = model_file.load_model(other)
    for one, two in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not harm.exists()


def test_a_card_of_another_network_is_found_out(model_file, tmp_path):
    model, card = make(model_file)
    path = tmp_path / "m.keras"
    wider = dataclasses.replace(card.architecture, units=4)
    model_file.save_model(
        model, dataclasses.replace(card, architecture=wider), path
    )
    with pytest.raises(UserError, match="--model=.* is damaged or not a model"):
        model_file.load_model(path)


def test_a_card_holds_a_fusion(model_file):
    card = model_file.Card(
        architecture=named(
            "model_fusion_fc",
            members=["cnn2_to_1rnn", Architecture(taps=("conv3_1",))],
            fusion_units=9,
            gru="cudnn",
        ),
        sequence_length=3,
        tail="spread",
    )
    assert model_file.Card.from_json(card.to_json()) == card
    assert card.architecture.members[0].gru == "cudnn"


def test_a_card_says_how_windows_were_cut(model_file):
    card = model_file.Card(
        architecture=named("cnn_3rnn"), sequence_length=3, tail="overlap"
    )
    content = json.loads(card.to_json())
    del content["tail"]  # as earlier versions, which padded
    read = model_file.Card.from_json(json.dumps(content))
    assert read == dataclasses.replace(card, tail="pad")
    with pytest.raises(UserError, match="another version: tail is 'cut'"):
        model_file.Card.from_json(json.dumps(content | {"tail": "cut"}))


def test_a_card_says_what_was_done_to_films(model_file):
    card = model_file.Card(
        architecture=named("cnn_3rnn"),
        sequence_length=3,
        treatment=Treatment("mediapipe", 12.5, "jpeg"),
    )
    content = json.loads(card.to_json())
    assert model_file.Card.from_json(card.to_json()) == card
    assert content.pop("treatment") == {
        "landmarks": "mediapipe",
        "max_fps": 12.5,
        "crop_format": "jpeg",
    }
    read = model_file.Card.from_json(json.dumps(content))
    assert read.treatment == Treatment("dlib", None, "png")  # as it was before
    for name, wrong in (
        *(("max_fps", 0), ("max_fps", "25")),
        *(("crop_format", "webp"), ("landmarks", None)),
    ):
        content["treatment"] = {name: wrong}
        with pytest.raises(UserError, match=f"version: {name} is {wrong!r}"):
            model_file.Card.from_json(json.dumps(content))


def test_faces_of_another_preparation_are_refused(model_file):
    card = model_file.Card(architecture=named("cnn_3rnn"), sequence_length=3)
    content = json.loads(card.to_json())
    assert content.pop("preparation") == 1
    # As earlier versions, whose preparation was the first.
    assert model_file.Card.from_json(json.dumps(content)) == card
    with pytest.raises(UserError, match="preparation 2, and this .* has 1"):
        model_file.Card.from_json(json.dumps(content | {"preparation": 2}))


def test_nothing_is_left_when_saving_fails(model_file, tmp_path, monkeypatch):
    model, card = make(model_file)

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_file.zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space left"):
        model_file.save_model(model, card, tmp_path / "m.keras")
    assert list(tmp_path.iterdir()) == []
