import dataclasses
import json
import shutil

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.paper.treatment import Treatment
from tests.conftest import FRAMES, clip_seed, make_frames


@pytest.fixture(scope="module")
def cards(tf):
    from affwild_omg.serving import card

    return card


@pytest.fixture(scope="module")
def results(tf, small_run, small_records, tmp_path_factory):
    from affwild_omg.evaluation import evaluator

    return evaluator.evaluate(
        EvaluationOptions(
            model=small_run[0].workdir,
            records=str(small_records),
            output=str(tmp_path_factory.mktemp("card") / "results"),
            split="test",
        )
    )


def facts(cards, model, metrics=None):
    from affwild_omg.weights import model_file

    return cards.facts(model, model_file.read_card(model), 1234567, metrics)


def text_of(cards, known, folder):
    """Returns the card's head, each value read as JSON, and its text."""
    (folder / "assets.extra").mkdir()
    cards.write(folder, known)
    written = json.loads((folder / cards.FACTS).read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(known))
    _, head, text = (folder / "README.md").read_text().split("---\n", 2)
    lines = (line.split(": ", 1) for line in head.splitlines())
    return {key: json.loads(value) for key, value in lines}, text


def test_a_card_says_what_the_model_learned_and_how_well(
    cards, results, small_run, small_records, tmp_path
):
    options, summary = small_run
    metrics = results.to_dict()
    # Of a network whose values were smoothed its own score counts.
    smoothed = metrics | {"valence": {"ccc": 0.99}}
    smoothed["unprocessed"] = {"valence": metrics["valence"]}
    known = facts(cards, _path(options.workdir), smoothed)
    head, text = text_of(cards, known, tmp_path)
    means = np.array(
        [
            make_frames(frames, clip_seed(video, index))[0].labels
            for video, lengths in FRAMES["train"].items()
            for index, frames in enumerate(lengths)
        ]
    )
    for target, values in zip(("valence", "arousal"), means.T, strict=True):
        found = known["labels"][target]
        assert found["utterances"] == 3
        assert found["0"] == pytest.approx(values.min(), abs=1e-6)
        assert found["50"] == pytest.approx(np.median(values), abs=1e-6)
        assert f"{np.median(values):.3f}" in text
    (result,) = head["model-index"][0]["results"]
    assert [x["value"] for x in result["metrics"]] == [
        results.headline.targets[target].ccc
        for target in ("valence", "arousal")
    ]
    assert result["dataset"]["split"] == "test"
    assert known["training"]["best_epoch"] == summary["best_epoch"]
    assert known["training"]["records_sha256"] in text
    assert "1,234,567 parameters" in text and "random weights" in text
    assert "looked like in training is not known" in text
    assert "coverage: 0.66" in text and "article 5(1)(f)" in text
    # Folders of the machine are nobody's business.
    whole = text + json.dumps(known)
    assert str(small_records) not in whole and options.workdir not in whole
    assert str(tmp_path.parent) not in whole


def test_a_card_names_no_place(cards, small_run, tmp_path):
    workdir = shutil.copytree(small_run[0].workdir, tmp_path / "run")
    history = json.loads((workdir / "history.json").read_text())
    history["options"] |= {
        name: "grpc://lab:5050/lab"
        for name in ("records", "init_from", "cache_features", "data_service")
    }
    (workdir / "history.json").write_text(json.dumps(history))
    known = facts(cards, workdir)
    assert known["training"]["options"]["epochs"] == 3
    assert "grpc" not in json.dumps(known["training"]["options"])


def test_a_card_says_what_is_not_known(cards, small_run, tmp_path):
    best = _path(small_run[0].workdir) / "best.keras"
    assert facts(cards, best)["training"]  # beside it
    assert facts(cards, best.with_name("last.keras"))["training"] is None
    alone = shutil.copy(best, tmp_path / "alone.keras")
    known = facts(cards, _path(alone))
    assert known["training"] is known["labels"] is known["evaluation"] is None
    head, text = text_of(cards, known, tmp_path)
    assert "model-index" not in head
    assert text.count("Not known") == 2


def test_a_card_says_what_crops_looked_like(cards, small_run, tmp_path):
    known = facts(cards, _path(small_run[0].workdir))
    known["crops"] = {"brightness": (80.25, 190.0), "blur": (0.3, 0.51)}
    _, text = text_of(cards, known, tmp_path)
    assert "brightness 80.2 to 190, blur 0.3 to 0.51." in text
    assert "JPEG" not in text
    (other := tmp_path / "other").mkdir()
    known["treatment"]["crop_format"] = "jpeg"
    _, text = text_of(cards, known, other)
    assert "They were JPEG files of quality 95" in text


def test_a_card_says_how_many_frames_are_of_a_second(
    cards, small_run, tmp_path
):
    known = facts(cards, _path(small_run[0].workdir))
    for max_fps, words in ((None, "crops and"), (12.5, "crops (at most 12.5 ")):
        (folder := tmp_path / str(max_fps)).mkdir()
        known["treatment"]["max_fps"] = max_fps
        _, text = text_of(cards, known, folder)
        assert words in text


@pytest.mark.parametrize(
    ("landmarks", "words", "others"),
    [("dlib", "iBUG 300-W", "Apache"), ("mediapipe", "Apache 2.0", "300-W")],
)
def test_a_card_has_the_licence_of_its_landmarks(
    cards, small_run, tmp_path, landmarks, words, others
):
    from affwild_omg.weights import model_file

    run = shutil.copytree(small_run[0].workdir, tmp_path / "run")
    model, card = model_file.load_model(run)
    card = dataclasses.replace(card, treatment=Treatment(landmarks))
    model_file.save_model(model, card, run / "best.keras")
    _, text = text_of(cards, facts(cards, run), tmp_path)
    assert words in text and others not in text


def test_results_of_another_model_are_refused(cards, results, small_run):
    other = results.to_dict() | {"model_sha256": "0" * 64}
    with pytest.raises(UserError, match="--results is .* of another model"):
        facts(cards, _path(small_run[0].workdir), other)


def _path(folder):
    import pathlib

    return pathlib.Path(folder)
