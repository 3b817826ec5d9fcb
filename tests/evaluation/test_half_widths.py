"""How sure a prediction is: from an evaluation on validation to its bounds."""

import csv
import dataclasses
import functools
import json
import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.scoring import conformal
from affwild_omg.serving.options import ExportOptions

# What the few videos of these records can promise.
COVERAGE = 0.37
TRUE = {"valence": "true_valence", "arousal": "true_arousal"}


@pytest.fixture
def evaluate(tf, small_run, small_records, tmp_path, monkeypatch):
    from affwild_omg.evaluation import evaluator

    monkeypatch.setattr(
        conformal,
        "half_width",
        functools.partial(conformal.half_width, coverage=COVERAGE),
    )
    workdir = shutil.copytree(small_run[0].workdir, tmp_path / "workdir")

    def evaluate(split, **changes):
        return evaluator.evaluate(
            EvaluationOptions(
                **{
                    "model": str(workdir),
                    "records": str(small_records),
                    "output": str(tmp_path / split),
                    "split": split,
                }
                | changes
            )
        )

    evaluate.workdir = workdir
    return evaluate


def errors_by_hand(folder):
    """Returns {(level, target): errors by video}, from the files."""
    frames = pd.read_csv(folder / "frames.csv")
    frames = frames[frames["face"] == 1]
    utterances = pd.read_csv(folder / "predictions.csv").merge(
        pd.read_csv(folder / "labels.csv").rename(columns=TRUE),
        on=["video", "utterance"],
    )
    found = {}
    for level, table in (("frame", frames), ("utterance", utterances)):
        for target in ("valence", "arousal"):
            off = (table[target] - table[f"true_{target}"]).abs()
            found[level, target] = off.groupby(table["video"]).apply(list)
    return found


def least(errors, coverage):
    """Returns the least width that holds enough, by trying each error."""
    needed = coverage * (len(errors) + 1)
    for width in sorted(x for own in errors for x in own):
        if sum(np.mean(np.array(own) <= width) for own in errors) >= needed:
            return width
    raise AssertionError("too few")


def test_validation_measures_and_others_tell_what_lies_within(evaluate):
    evaluate("validation")
    folder = evaluate.workdir.with_name("validation")
    content = json.loads((evaluate.workdir / "half_widths.json").read_text())
    assert content.pop("model_sha256")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["half_widths"] == content and "within" not in metrics
    for (level, target), errors in errors_by_hand(folder).items():
        assert content[level][target] == pytest.approx(
            least(errors, COVERAGE), abs=2e-6
        )
        assert content["clusters"] == len(errors)
    evaluate("train")
    folder = evaluate.workdir.with_name("train")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["half_widths"] == content
    for (level, target), errors in errors_by_hand(folder).items():
        width = content[level][target] + 1e-6
        shares = [np.mean(np.array(own) <= width) for own in errors]
        assert metrics["within"][level][target] == pytest.approx(
            np.mean(shares)
        )


def test_windows_of_another_length_or_few_videos_measure_nothing(
    evaluate, monkeypatch
):
    found = evaluate("validation", sequence_length=3)
    assert found.provenance.half_widths is None
    monkeypatch.undo()  # 0.9 needs nine videos
    found = evaluate("validation", output=str(evaluate.workdir / "again"))
    assert found.provenance.half_widths is None
    assert not (evaluate.workdir / "half_widths.json").exists()


def test_bounds_reach_the_predictions_of_an_export(evaluate, tmp_path):
    from affwild_omg.faces.views import Face
    from affwild_omg.inference.moments import Moment, Table
    from affwild_omg.inference.predictor import load_predictor
    from affwild_omg.serving import exporting

    evaluate("validation")
    saved = exporting.export(
        ExportOptions(
            model=str(evaluate.workdir), output=str(tmp_path / "saved")
        )
    )
    predictor = load_predictor(saved)
    assert predictor.half_widths == load_predictor(evaluate.workdir).half_widths
    widths = predictor.half_widths.frame
    face = Face.missing()
    face = dataclasses.replace(face, found=True, box=(0.0, 0.0, 9.0, 9.0))
    with Table(tmp_path / "t.csv", predictor.targets, widths) as table:
        table.add(
            Moment(
                number=0,
                time_s=0.0,
                faces={1: face},
                values={1: np.array([0.25, -0.5])},
                reason="",
            )
        )
    with (tmp_path / "t.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    for target, value in (("valence", 0.25), ("arousal", -0.5)):
        assert float(row[f"{target}_low"]) == pytest.approx(
            value - widths[target], abs=1e-6
        )
        assert float(row[f"{target}_high"]) == pytest.approx(
            value + widths[target], abs=1e-6
        )


def test_those_of_another_model_are_not_used(evaluate, caplog):
    from affwild_omg.weights import model_file

    evaluate("validation")
    file = pathlib.Path(evaluate.workdir, "half_widths.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"model_sha256": "0" * 64}))
    _, card = model_file.load_model(evaluate.workdir)
    assert card.half_widths is None
    assert "of an earlier model, and not used" in caplog.text
    file.write_text("{}")
    with pytest.raises(UserError, match="half_widths.json is damaged"):
        model_file.load_model(evaluate.workdir)


def test_a_card_keeps_them(tf):
    from affwild_omg.nets.architectures import Architecture
    from affwild_omg.weights.model_file import Card

    widths = conformal.HalfWidths(
        coverage=0.9,
        clusters=30,
        frame={"valence": 0.5, "arousal": None},
        utterance={"valence": 0.25, "arousal": 0.125},
    )
    card = Card(architecture=Architecture(), sequence_length=80)
    card = dataclasses.replace(card, half_widths=widths)
    assert Card.from_json(card.to_json()) == card
