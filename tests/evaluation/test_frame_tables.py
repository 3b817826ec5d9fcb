"""Tables of frames as predict, py-feat and OpenFace write them."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import comparison, results, submission
from affwild_omg.evaluation.options import (
    ComparisonOptions,
    SubmissionOptions,
)
from tests.evaluation.test_results import ccc_by_hand

FRAMES = 12
WITHOUT_FACE, WITHOUT_LABEL = 4, 7


def values(seed):
    return np.random.default_rng(seed).uniform(-1, 1, (FRAMES, 2)).round(3)


def labels_text(seed):
    rows = values(seed)
    rows[WITHOUT_LABEL, 0] = -5
    return "valence,arousal\n" + "".join(f"{v},{a}\n" for v, a in rows)


def ours(found):
    """A table of predict, with one face."""
    face = np.arange(FRAMES) != WITHOUT_FACE
    return pd.DataFrame(
        {
            "frame": range(FRAMES),
            "time_s": np.arange(FRAMES) / 25,
            "face": face.astype(int),
            "valence": np.where(face, found[:, 0], np.nan),
            "arousal": np.where(face, found[:, 1], np.nan),
            "track": np.where(face, 1, np.nan),
        }
    )


def py_feat(found):
    """With the columns by which py-feat is known, its own order of rows."""
    table = ours(found).rename(columns={"face": "FaceScore"})
    table["FaceScore"] = table["FaceScore"].replace(0, np.nan) * 0.98
    table["input"] = "film.mp4"
    return table.drop(columns="track").iloc[::-1]


def openface(found):
    """Counted from 1, with spaces in the header, zeros where it failed."""
    table = ours(found).fillna(0)
    table["frame"] += 1
    table = table.rename(columns={"face": "success", "time_s": "timestamp"})
    table = table.drop(columns="track")
    return table.set_axis([f" {name}" for name in table], axis=1)


@pytest.fixture
def options(tmp_path):
    (tmp_path / "labels.txt").write_text(labels_text(1))
    return SubmissionOptions(
        predictions=str(tmp_path / "film.csv"),
        annotations=str(tmp_path / "labels.txt"),
        output=str(tmp_path / "out"),
    )


def write(options, table):
    table.to_csv(options.predictions, index=False)


@pytest.mark.parametrize("kind", [ours, py_feat, openface])
def test_frames_match_by_their_numbers(options, tmp_path, kind):
    write(options, kind(values(2)))
    found = submission.score(options)
    scored = [
        i for i in range(FRAMES) if i not in (WITHOUT_FACE, WITHOUT_LABEL)
    ]
    assert found.keys == [f"film/{i}" for i in scored]
    for column, target in enumerate(("valence", "arousal")):
        expected = ccc_by_hand(
            values(1)[scored, column], values(2)[scored, column]
        )
        ccc = found.headline.targets[target].ccc
        assert ccc == pytest.approx(expected, abs=1e-12)
    source = found.provenance
    assert source.match == "frame"
    assert source.unmatched == {
        "predictions": [f"film/{WITHOUT_LABEL}"],
        "annotations": [f"film/{WITHOUT_FACE}"],
    }
    assert any(
        "10 of 11 annotated frames matched by frame" in line
        for line in submission.table(found)
    )
    again = results.read(tmp_path / "out", flag="--results")
    assert again.to_dict() == found.to_dict()
    # They are frames, and nothing calls them utterances.
    stated = found.to_dict()
    assert (stated["level"], stated["frames"]) == ("frame", len(scored))
    assert "utterances" not in stated
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    both = comparison.compare(
        ComparisonOptions(
            first=str(tmp_path / "out"),
            second=str(tmp_path / "other"),
            output=str(tmp_path / "compared"),
        )
    )
    assert "10 labelled frames of 1 video" in comparison.table(both)


def test_folders_match_by_stems(tmp_path):
    for folder in ("p", "a"):
        (tmp_path / folder).mkdir()
    for seed, name in enumerate("xyz"):
        ours(values(seed)).to_csv(tmp_path / "p" / f"{name}.csv", index=False)
    py_feat(values(9)).to_csv(tmp_path / "p" / "x_fex.csv", index=False)
    (tmp_path / "p" / "x.json").touch()
    for seed, name in enumerate("yzw"):
        (tmp_path / "a" / f"{name}.txt").write_text(labels_text(seed + 10))
    found = submission.score(
        SubmissionOptions(
            predictions=str(tmp_path / "p"),
            annotations=str(tmp_path / "a"),
            output=str(tmp_path / "out"),
        )
    )
    kept = [i for i in range(FRAMES) if i not in (WITHOUT_FACE, WITHOUT_LABEL)]
    assert found.keys == [f"{name}/{i}" for name in "yz" for i in kept]
    truth = np.concatenate([values(seed)[kept] for seed in (10, 11)])
    predicted = np.concatenate([values(seed)[kept] for seed in (1, 2)])
    np.testing.assert_array_equal(found.labels, truth)
    np.testing.assert_array_equal(found.predictions, predicted)
    assert found.headline.videos == 2
    assert len(found.provenance.unmatched["predictions"]) == 11 + 2
    assert len(found.provenance.unmatched["annotations"]) == 11 + 2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            lambda t: t.drop(columns=["valence", "arousal"]),
            "a table of predict without valence and arousal",
        ),
        (
            lambda t: openface(values(2)).drop(
                columns=[" valence", " arousal"]
            ),
            "a table of OpenFace without valence and arousal",
        ),
        (lambda t: t.drop(columns="face"), "is no table of predict, py-feat"),
        (
            lambda t: pd.concat([t, t.iloc[:1]]),
            "line 14: a frame must show one",
        ),
        (lambda t: t.assign(frame=t["frame"] + 0.5), "line 2: frame must be"),
        (lambda t: t.assign(frame=t["frame"] - 1), "line 2: frame must be"),
        (
            lambda t: t.assign(arousal=np.nan),
            "line 2: valence and arousal must",
        ),
    ],
)
def test_what_cannot_be_read_is_told(options, change, word):
    write(options, change(ours(values(2))))
    with pytest.raises(UserError, match=word):
        submission.score(options)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("0.1,0.2\n", "its first line must be valence,arousal"),
        ("", "its first line must be valence,arousal"),
        ("valence,arousal\n-5,-5\n", "have no frame in common"),
    ],
)
def test_other_labels_are_told(options, tmp_path, text, word):
    write(options, ours(values(2)))
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(UserError, match=word):
        submission.score(options)


def test_a_label_that_is_wrong_leaves_its_frame_alone(
    options, tmp_path, caplog
):
    write(options, ours(values(2)))
    rows = labels_text(1).splitlines()
    rows[3] = "0.1,2"  # of frame 2
    (tmp_path / "labels.txt").write_text("\n".join(rows))
    found = submission.score(options)
    assert "film/2" not in found.keys and "film/3" in found.keys
    assert any("line 4: " in line for line in caplog.messages)


def test_order_has_nothing_to_say(options):
    write(options, ours(values(2)))
    with pytest.raises(UserError, match="--match=order is for tables of utt"):
        submission.score(dataclasses.replace(options, match="order"))


CLIPS = {  # frames of each utterance, the second video's first has no face
    "a/utterance_1": 170,
    "a/utterance_2": 81,
    "b/utterance_1": 30,
    "b/utterance_2": 12,
    "c/utterance_9": 5,
}


@pytest.fixture
def clips(tmp_path):
    """Tables of clips, and annotations as the organisers'; what they hold."""
    random, held = np.random.default_rng(3), {}
    for key, frames in CLIPS.items():
        found = random.uniform(-1, 1, (frames, 2)).round(3)
        face = random.uniform(size=frames) > 0.2
        if key == "b/utterance_1":
            face[:] = False
        table = pd.DataFrame(
            {
                "frame": np.arange(frames) + (np.arange(frames) > 2),  # 3 lost
                "time_s": np.arange(frames) / 25,
                "face": face.astype(int),
                "valence": np.where(face, found[:, 0], np.nan),
                "arousal": np.where(face, found[:, 1], np.nan),
            }
        )
        path = tmp_path / "p" / f"{key}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
        table.to_csv(path.with_name(f"{path.stem}_fex.csv"), index=False)
        held[key] = found, face
    rows = [
        f"x,0,1,{x.replace('/', ',')}.mp4,0.{n},-0.{n}"
        for n, x in enumerate([*list(CLIPS)[:4], "d/utterance_1"], 1)
    ]
    (tmp_path / "omg.csv").write_text(
        "\n".join(["link,start,end,video,utterance,arousal,valence", *rows])
    )
    options = SubmissionOptions(
        predictions=str(tmp_path / "p"),
        annotations=str(tmp_path / "omg.csv"),
        output=str(tmp_path / "out"),
    )
    return options, held


def test_clips_are_scored_as_utterances(clips, tmp_path):
    options, held = clips
    found = submission.score(options)
    expected = {}
    for key, (values, face) in held.items():
        number = np.arange(len(values)) + (np.arange(len(values)) > 2)
        medians = [
            np.median(values[face & (number // 80 == i)], axis=0)
            for i in range(number[-1] // 80 + 1)
            if (face & (number // 80 == i)).any()
        ]
        if medians:
            expected[key] = np.mean(medians, axis=0)
    expected["b/utterance_1"] = expected["b/utterance_2"]
    names = list(CLIPS)[:4]
    assert found.keys == [f"{name}.mp4" for name in names]
    np.testing.assert_allclose(
        found.predictions, [expected[x] for x in names], atol=1e-12
    )
    np.testing.assert_allclose(
        found.labels, [[-n / 10, n / 10] for n in (1, 2, 3, 4)]
    )
    ccc = ccc_by_hand(
        found.labels[:, 0], np.array([expected[x][0] for x in names])
    )
    assert found.headline.targets["valence"].ccc == pytest.approx(ccc, abs=1e-9)
    source = found.provenance
    assert source.unmatched == {
        "predictions": ["c/utterance_9"],
        "annotations": ["d/utterance_1.mp4"],
    }
    assert (source.utterances_without_face, source.sequence_length) == (1, 80)
    lines = "\n".join(submission.table(found))
    assert "4 of 5 annotated utterances matched by key" in lines
    assert "take the mean of the others: 1" in lines
    again = results.read(tmp_path / "out", flag="--results")
    assert again.to_dict() == found.to_dict()


def test_a_table_that_two_clips_would_have_is_told(clips, tmp_path):
    options, _ = clips
    other = tmp_path / "p" / "a" / "utterance_1.mp4.csv"
    other.write_text((tmp_path / "p" / "a" / "utterance_1.csv").read_text())
    with pytest.raises(UserError, match="utterance_1.*not clear whose"):
        submission.score(options)


def test_clips_of_different_targets_are_told(clips, tmp_path):
    options, _ = clips
    path = tmp_path / "p" / "a" / "utterance_2.csv"
    pd.read_csv(path).drop(columns="valence").to_csv(path, index=False)
    with pytest.raises(UserError, match="others one of these alone"):
        submission.score(options)


def test_a_folder_without_clips_is_told(clips, tmp_path):
    options, _ = clips
    options = dataclasses.replace(
        options, predictions=str(tmp_path / "p" / "a")
    )
    with pytest.raises(UserError, match="holds no <video>/<utterance>.csv"):
        submission.score(options)
