"""What the demo's plan draws, and how the corpus lies on disk."""

import csv
import dataclasses

import cv2
import numpy as np
import pytest

from affwild_omg.cli import errors
from affwild_omg.corpora import omg
from affwild_omg.synthetic import corpus, plan

PLAN = plan.plan_corpus()
SPLITS = ("train", "validation", "test")


# Two utterances of six frames of four videos.
FEW = [
    dataclasses.replace(
        v,
        utterances=tuple(
            dataclasses.replace(u, frames=6) for u in v.utterances[:2]
        ),
    )
    for v in PLAN
    if v.index == 0 or (v.split, v.index) == ("test", 1)
]


def utterances(split=None):
    return [u for v in PLAN if split in (None, v.split) for u in v.utterances]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "corpus"
    write(directory, workers=1)
    return directory


def write(directory, **settings):
    options = corpus.CorpusOptions(directory=str(directory))
    corpus.write_corpus(options, **({"videos": FEW} | settings))


def read_table(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def decode(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        more, frame = capture.read()
        if not more:
            return np.array(frames)
        frames.append(frame)


# The plan.


@pytest.mark.parametrize(
    ("split", "fewest", "most"),
    [("train", 330, 390), ("validation", 60, 85), ("test", 95, 125)],
)
def test_each_split_has_short_and_long_utterances(split, fewest, most):
    seconds = [u.frames / 12 for u in utterances(split)]
    assert fewest <= len(seconds) <= most
    assert 0.5 < min(seconds) < 1 and 15 < max(seconds) < 18
    assert 1.7 < np.median(seconds) < 2.5


@pytest.mark.parametrize("split", SPLITS)
def test_truths_cover_the_plane_apart_from_identities(split):
    truths = np.array(
        [
            (u.true_valence, u.true_arousal, v.blend)
            for v in PLAN
            if v.split == split
            for u in v.utterances
        ]
    )
    # Uniform: a width of 12 has a deviation of sqrt(12).
    for column, low, high in zip(
        truths.T, (-0.9, 0.05, 0), (0.9, 0.95, 1), strict=True
    ):
        width = high - low
        assert low <= column.min() < low + 0.12 * width
        assert high >= column.max() > high - 0.12 * width
        assert column.std() == pytest.approx(width / 12**0.5, rel=0.15)
    together = np.corrcoef(truths.T)[np.triu_indices(3, 1)]
    assert np.abs(together).max() < 3 / np.sqrt(len(truths))


def test_no_two_videos_show_one_person():
    assert len({v.video for v in PLAN}) == len(PLAN)
    assert len({v.blend for v in PLAN}) == len(PLAN)


def test_emotions_agree_with_the_labels():
    for u in utterances():
        if u.true_valence > 0.75:
            assert u.emotion == plan.HAPPY
        if u.true_valence < -0.75:
            assert u.emotion not in (plan.HAPPY, plan.NEUTRAL)
    assert {u.emotion for u in utterances()} == set(range(7))


def test_ceiling_agrees_with_another_formula():
    ceiling = plan.measure_ceiling(PLAN)
    for name in ("valence", "arousal"):
        x, y = np.array(
            [
                (getattr(u, name), getattr(u, f"true_{name}"))
                for u in utterances("test")
            ]
        ).T
        # Lin: correlation times the bias correction factor.
        ratio = x.std() / y.std()
        shift = (x.mean() - y.mean()) ** 2 / (x.std() * y.std())
        expected = np.corrcoef(x, y)[0, 1] * 2 / (ratio + 1 / ratio + shift)
        assert ceiling[name] == pytest.approx(expected, abs=1e-9)
        # Room for a model to fall short, but not for the raters.
        assert 0.94 < ceiling[name] < 0.995


# The files.


def test_tables_are_the_organisers_without_the_truth(written):
    assert [
        (c.split, c.video, c.utterance, c.valence, c.arousal)
        for c in omg.read(written)
    ] == [
        (v.split, v.video, u.utterance, u.valence, u.arousal)
        for v in FEW
        for u in v.utterances
    ]
    header, *truth = read_table(written / "truth.csv")
    assert header == ["video", "utterance", "true_arousal", "true_valence"]
    assert truth == [
        [v.video, u.utterance, str(u.true_arousal), str(u.true_valence)]
        for v in FEW
        for u in v.utterances
    ]
    truths = {cell for row in truth for cell in row[2:]}
    for name in ("Train", "Validation", "Test"):
        labelled = "_WithLabels" if name == "Test" else ""
        table = read_table(written / f"omg_{name}Videos{labelled}.csv")
        assert ",".join(table[0]) == (
            "link,start,end,video,utterance,arousal,valence,EmotionMaxVote"
        )
        assert not truths & {cell for row in table for cell in row}
    short = read_table(written / "omg_TestVideos_WithoutLabels.csv")
    assert short == [row[:5] for row in table]


def test_every_clip_decodes_to_its_planned_frames(written):
    clips = sorted(written.glob("*/*"))
    assert [path.relative_to(written).as_posix() for path in clips] == sorted(
        f"{v.video}/{u.utterance}" for v in FEW for u in v.utterances
    )
    for path in clips:
        frames = decode(path)
        assert frames.shape == (6, 256, 256, 3)
        assert frames.std() > 20  # a picture, and one that moves
        assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0.3
    fps = cv2.VideoCapture(str(clips[0])).get(cv2.CAP_PROP_FPS)
    assert fps == pytest.approx(12)
    people = [decode(path)[0].astype(int) for path in clips[::2]]
    for first, second in zip(people, people[1:], strict=False):
        assert np.abs(first - second).mean() > 5


def test_two_workers_write_the_same_bits(written, tmp_path):
    write(tmp_path, workers=2)
    first, second = (
        sorted(p for p in folder.rglob("*") if p.is_file())
        for folder in (written, tmp_path)
    )
    # Clips, four tables of OMG-Emotion, the truth and the description.
    assert len(first) == len(second) == 8 + 6
    for one, other in zip(first, second, strict=True):
        assert one.name == other.name
        if one.suffix == ".mp4":
            assert np.array_equal(decode(one), decode(other))
        else:
            assert one.read_bytes() == other.read_bytes()


# Whole or not at all.


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "_write_tables", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "new" / "corpus", videos=FEW[:1], workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_in_use_is_not_touched(tmp_path, overwrite):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(errors.UserError, match="other than a demo corpus"):
        write(tmp_path, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_demo_corpus_is_replaced_if_told(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "draw", lambda *given: None)
    (tmp_path / "demo.json").write_text("of an older edition")
    with pytest.raises(errors.UserError, match="not empty"):
        write(tmp_path)
    write(tmp_path, overwrite=True)
    assert '"edition": 2' in (tmp_path / "demo.json").read_text()
