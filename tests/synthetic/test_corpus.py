"""The demo corpus, with landmarks given by hand: no detector is needed."""

import csv
import dataclasses
import json

import cv2
import numpy as np
import pytest

from affwild_omg.cli import errors
from affwild_omg.corpora import omg
from affwild_omg.synthetic import acting as demo_acting
from affwild_omg.synthetic import corpus as demo
from affwild_omg.synthetic import faces as demo_faces
from affwild_omg.synthetic import plan as demo_plan
from affwild_omg.synthetic import portrait as demo_portraits

# The portraits' landmarks (x, then y), by the height of the picture asked
# about: both come at twice their own size, 512 and 600 pixels.
LANDMARKS = {
    1024: (
        (179, 180, 181, 182, 185, 191, 200, 209, 220, 232, 243, 253, 260, 265,
         268, 270, 272, 186, 192, 200, 208, 216, 236, 244, 252, 260, 265, 226,
         225, 225, 225, 214, 219, 224, 229, 234, 195, 200, 207, 212, 206, 199,
         237, 243, 250, 255, 250, 244, 201, 209, 218, 224, 230, 238, 246, 238,
         229, 222, 216, 208, 204, 218, 223, 230, 243, 229, 223, 217),
        (104, 116, 127, 139, 150, 160, 168, 176, 178, 177, 171, 163, 154, 143,
         131, 120, 108, 94, 88, 87, 89, 92, 93, 91, 91, 92, 99, 102, 111, 119,
         127, 131, 133, 134, 133, 132, 101, 98, 98, 104, 104, 104, 106, 100,
         100, 105, 107, 107, 139, 139, 139, 141, 140, 140, 141, 151, 155, 156,
         155, 150, 141, 143, 144, 143, 142, 150, 151, 150),
    ),
    1200: (
        (178, 181, 186, 192, 199, 209, 226, 245, 269, 293, 312, 329, 340, 347,
         351, 353, 355, 189, 196, 211, 228, 243, 284, 298, 315, 331, 340, 265,
         265, 266, 267, 247, 257, 268, 278, 287, 210, 218, 228, 238, 229, 219,
         291, 300, 310, 319, 311, 301, 233, 245, 258, 267, 277, 288, 300, 289,
         278, 269, 259, 246, 238, 258, 268, 277, 296, 277, 268, 258),
        (203, 226, 248, 270, 291, 310, 323, 331, 333, 329, 319, 304, 284, 262,
         241, 218, 195, 188, 172, 165, 165, 171, 168, 161, 161, 167, 181, 188,
         205, 221, 238, 246, 249, 252, 249, 246, 195, 187, 187, 194, 195, 196,
         192, 184, 184, 190, 192, 193, 281, 274, 272, 274, 271, 273, 277, 284,
         287, 289, 288, 285, 279, 278, 279, 278, 278, 278, 279, 279),
    ),
}  # fmt: skip
TINY = demo.DemoOptions(
    seed=3,
    train_videos=2,
    validation_videos=1,
    test_videos=2,
    min_utterances=2,
    max_utterances=3,
    median_seconds=0.7,
    size=128,
    long_utterances=0,
)
DEFAULT_PLAN = demo.plan_corpus(demo.DemoOptions())


def find_landmarks(image):
    assert image.dtype == np.uint8 and image.shape[2] == 3
    return 2.0 * np.array(LANDMARKS[image.shape[0]]).T + 0.5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "corpus"
    summary = demo.write_corpus(
        directory, find_landmarks=find_landmarks, options=TINY, workers=1
    )
    return summary


@pytest.fixture(scope="module")
def person():
    rng = np.random.default_rng(1)
    looks = dataclasses.replace(
        demo_faces.draw_looks(rng, blend=0.2), mirrored=False, body=0
    )
    portraits = demo_portraits.load_portraits(find_landmarks)
    return demo_faces.Person(portraits, looks, 256)


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


def pose(**given):
    actions = np.zeros(len(demo_faces.ACTIONS))
    for name in set(given) & set(demo_faces.ACTIONS):
        actions[demo_faces.ACTIONS.index(name)] = given.pop(name)
    return demo_faces.Pose(actions=actions, **given)


def shift_of(person, landmark, moved):
    """Pixels by which the skin around a landmark moves, by matching."""
    still, moving = person.render(pose()), person.render(moved)
    x, y = np.round(person.points[landmark] - person.margin).astype(int)
    patch = still[y - 9 : y + 10, x - 9 : x + 10]
    around = moving[y - 33 : y + 34, x - 33 : x + 34]
    match = cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED)
    best = np.unravel_index(match.argmax(), match.shape)
    return best[1] - 24, best[0] - 24


# The plan.


def test_plan_has_the_size_of_the_demo():
    counts = {split: 0 for split in ("train", "validation", "test")}
    for video in DEFAULT_PLAN:
        assert 4 <= len(video.utterances) <= 8
        counts[video.split] += len(video.utterances)
    assert 330 <= counts["train"] <= 390
    assert 60 <= counts["validation"] <= 85
    assert 95 <= counts["test"] <= 125
    frames = sum(u.frames for v in DEFAULT_PLAN for u in v.utterances)
    assert 14_500 <= frames <= 16_500


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_each_split_has_short_and_long_utterances(split):
    seconds = [
        u.frames / 12
        for v in DEFAULT_PLAN
        if v.split == split
        for u in v.utterances
    ]
    assert 0.5 < min(seconds) < 1
    assert 15 < max(seconds) < 18
    assert 1.7 < np.median(seconds) < 2.5


def test_plan_has_the_organisers_habits():
    gaps = overlaps = 0
    for video in DEFAULT_PLAN:
        numbers = [
            int(u.utterance.removeprefix("utterance_").removesuffix(".mp4"))
            for u in video.utterances
        ]
        assert numbers == sorted(set(numbers))
        gaps += numbers[-1] - numbers[0] + 1 > len(numbers)
        for first, second in zip(
            video.utterances, video.utterances[1:], strict=False
        ):
            assert first.start < second.start
            overlaps += second.start < first.end
        for utterance in video.utterances:
            length = utterance.end - utterance.start
            assert length == pytest.approx(utterance.frames / 12, abs=1e-5)
    assert gaps > 10 and overlaps > 10


def test_people_are_told_apart_and_never_shared():
    assert len({v.video for v in DEFAULT_PLAN}) == len(DEFAULT_PLAN)
    blends = {
        split: {v.blend for v in DEFAULT_PLAN if v.split == split}
        for split in ("train", "validation", "test")
    }
    assert len(set().union(*blends.values())) == len(DEFAULT_PLAN)
    for some in blends.values():
        assert min(some) < 0.3 and max(some) > 0.7


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_truths_cover_the_plane_independently(split):
    videos = [v for v in DEFAULT_PLAN if v.split == split]
    truths = np.array(
        [
            (u.true_valence, u.true_arousal, u.frames, v.blend)
            for v in videos
            for u in v.utterances
        ]
    )
    valence, arousal = truths[:, 0], truths[:, 1]
    assert -0.9 <= valence.min() < -0.8 and 0.8 < valence.max() <= 0.9
    assert 0.05 <= arousal.min() < 0.1 and 0.9 < arousal.max() <= 0.95
    # Uniform on 1.8 and 0.9 wide ranges: width / sqrt(12).
    assert valence.std() == pytest.approx(0.52, abs=0.02)
    assert arousal.std() == pytest.approx(0.26, abs=0.01)
    together = np.corrcoef(truths[:, [0, 1, 3]].T)[np.triu_indices(3, 1)]
    assert np.abs(together).max() < 3 / np.sqrt(len(truths))


def test_labels_are_noisy_means_of_raters_within_the_ranges():
    all_of = [u for v in DEFAULT_PLAN for u in v.utterances]
    off = np.array(
        [
            (u.valence - u.true_valence, u.arousal - u.true_arousal)
            for u in all_of
        ]
    )
    # A mean of five: sqrt((bias**2 + noise**2) / 5), less where clipped.
    assert 0.07 < off[:, 0].std() < 0.12
    assert 0.045 < off[:, 1].std() < 0.08
    assert all(-1 <= u.valence <= 1 and 0 <= u.arousal <= 1 for u in all_of)


def test_emotions_agree_with_the_labels():
    for video in DEFAULT_PLAN:
        for u in video.utterances:
            assert u.emotion in range(7)
            if u.true_valence > 0.75:
                assert u.emotion == demo_plan.HAPPY
            if u.true_valence < -0.75:
                assert u.emotion not in (demo_plan.HAPPY, demo_plan.NEUTRAL)
    seen = {u.emotion for v in DEFAULT_PLAN for u in v.utterances}
    assert seen == set(range(7))


def test_another_seed_makes_another_plan():
    again = demo.plan_corpus(demo.DemoOptions(seed=0))
    assert again == DEFAULT_PLAN
    other = demo.plan_corpus(demo.DemoOptions(seed=1))
    assert not {v.video for v in other} & {v.video for v in DEFAULT_PLAN}
    ours, theirs = (
        {(u.true_valence, u.true_arousal) for v in p for u in v.utterances}
        for p in (DEFAULT_PLAN, other)
    )
    assert not ours & theirs


@pytest.mark.parametrize(
    "wrong",
    [
        {"train_videos": 0},
        {"min_utterances": 5, "max_utterances": 4},
        {"size": 100},
        {"size": 250},
        {"fps": 0},
        {"seed": -1},
        {"shortest_seconds": 3.0},
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(errors.UserError, match=list(wrong)[0]):
        demo.DemoOptions(**wrong)


# The ceiling.


def test_ceiling_agrees_with_another_formula(corpus):
    truth = read_table(corpus.directory / "truth.csv")
    assert truth[0] == ["video", "utterance", "true_arousal", "true_valence"]
    truth = {tuple(row[:2]): row[2:] for row in truth[1:]}
    rows = read_table(corpus.directory / "omg_TestVideos_WithLabels.csv")[1:]
    given = np.array([row[5:7] for row in rows], float).T
    true = np.array([truth[tuple(row[3:5])] for row in rows], float).T
    for name, x, y in zip(("arousal", "valence"), given, true, strict=True):
        # Lin: correlation times the bias correction factor.
        r = np.corrcoef(x, y)[0, 1]
        ratio = x.std() / y.std()
        shift = (x.mean() - y.mean()) ** 2 / (x.std() * y.std())
        expected = r * 2 / (ratio + 1 / ratio + shift)
        ceiling = demo.read_ceiling(corpus.directory)
        assert getattr(ceiling, name) == pytest.approx(expected, abs=1e-9)
        assert getattr(corpus.ceiling, name) == getattr(ceiling, name)


def test_ceiling_leaves_room_but_not_much():
    ceiling = demo.measure_ceiling(DEFAULT_PLAN)
    assert 0.95 < ceiling.valence < 0.995
    assert 0.94 < ceiling.arousal < 0.995


# The files.


def test_tables_have_the_organisers_columns(corpus):
    header = (
        "link,start,end,video,utterance,arousal,valence,EmotionMaxVote".split(
            ","
        )
    )
    for name in (
        "omg_TrainVideos.csv",
        "omg_ValidationVideos.csv",
        "omg_TestVideos_WithLabels.csv",
    ):
        table = read_table(corpus.directory / name)
        assert table[0] == header
        assert all(len(row) == 8 for row in table)
    short = read_table(corpus.directory / "omg_TestVideos_WithoutLabels.csv")
    assert short == [row[:5] for row in table]


def test_tables_hold_the_plans_labels_and_not_its_truth(corpus):
    clips = omg.read(corpus.directory)
    plan = [
        (v.split, v.video, u.utterance, u.valence, u.arousal)
        for v in demo.plan_corpus(TINY)
        for u in v.utterances
    ]
    read = [
        (c.split, c.video, c.utterance, c.valence, c.arousal) for c in clips
    ]
    assert read == plan
    truths = {
        str(value)
        for v in demo.plan_corpus(TINY)
        for u in v.utterances
        for value in (u.true_valence, u.true_arousal)
    }
    for path in corpus.directory.glob("omg_*.csv"):
        assert not truths & {cell for row in read_table(path) for cell in row}


def test_every_clip_decodes_to_its_planned_frames(corpus):
    expected = {
        f"{v.video}/{u.utterance}": u.frames
        for v in demo.plan_corpus(TINY)
        for u in v.utterances
    }
    found = {
        path.relative_to(corpus.directory).as_posix(): decode(path)
        for path in corpus.directory.glob("*/*")
    }
    assert {key: len(frames) for key, frames in found.items()} == expected
    for frames in found.values():
        assert frames.shape[1:] == (128, 128, 3)
        assert frames.std() > 20  # a picture, and one that moves
        assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0.3
    capture = cv2.VideoCapture(str(corpus.directory / next(iter(found))))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12)


def test_summary_counts_what_was_written(corpus):
    plan = demo.plan_corpus(TINY)
    assert not corpus.reused
    assert corpus.videos == {"train": 2, "validation": 1, "test": 2}
    assert sum(corpus.utterances.values()) == sum(
        len(v.utterances) for v in plan
    )
    assert corpus.frames["train"] == sum(
        u.frames for v in plan if v.split == "train" for u in v.utterances
    )


def test_two_workers_write_the_same_bits(corpus, tmp_path):
    calls = []
    demo.write_corpus(
        tmp_path / "again",
        find_landmarks=find_landmarks,
        options=TINY,
        workers=2,
        progress=lambda *given: calls.append(given),
    )
    total = sum(corpus.utterances.values())
    assert calls[-1] == (total, total)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    first = sorted(p for p in corpus.directory.rglob("*") if p.is_file())
    second = sorted(p for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert len(first) == len(second) == total + 6
    for one, other in zip(first, second, strict=True):
        assert one.name == other.name
        if one.suffix == ".mp4":
            assert np.array_equal(decode(one), decode(other))
        else:
            assert one.read_bytes() == other.read_bytes()


def test_another_seed_draws_other_people(corpus, tmp_path):
    options = dataclasses.replace(
        TINY, seed=4, train_videos=1, test_videos=1, max_utterances=2
    )
    summary = demo.write_corpus(
        tmp_path / "other",
        find_landmarks=find_landmarks,
        options=options,
        workers=1,
    )
    ours, theirs = (
        decode(sorted(s.directory.glob("*/*.mp4"))[0])[0].astype(int)
        for s in (corpus, summary)
    )
    assert np.abs(ours - theirs).mean() > 5


# Whole or not at all.


def test_interrupted_writing_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.write_corpus(
            tmp_path / "new" / "corpus",
            find_landmarks=find_landmarks,
            options=TINY,
            workers=1,
            progress=stop,
        )
    assert list((tmp_path / "new").iterdir()) == []


def test_complete_corpus_is_left_as_it_is(corpus):
    def fail(image):
        raise AssertionError("a corpus that is there was drawn again")

    before = (corpus.directory / "demo.json").stat().st_mtime_ns
    again = demo.write_corpus(
        corpus.directory, find_landmarks=fail, options=TINY
    )
    assert again == dataclasses.replace(corpus, reused=True)
    assert (corpus.directory / "demo.json").stat().st_mtime_ns == before


def test_other_options_or_a_lost_clip_are_not_complete(corpus, tmp_path):
    assert demo.is_complete(corpus.directory, TINY)
    other = dataclasses.replace(TINY, fps=10)
    assert not demo.is_complete(corpus.directory, other)
    with pytest.raises(errors.UserError, match="these options"):
        demo.write_corpus(
            corpus.directory, find_landmarks=find_landmarks, options=other
        )
    clip = next(corpus.directory.glob("*/*.mp4"))
    clip.rename(tmp_path / "lost.mp4")
    try:
        assert not demo.is_complete(corpus.directory, TINY)
    finally:
        (tmp_path / "lost.mp4").rename(clip)
    assert demo.is_complete(corpus.directory, TINY)


def test_json_of_another_kind_is_not_complete(tmp_path):
    for text in ("[]", "{}", "no json", json.dumps({"format": 1})):
        (tmp_path / "demo.json").write_text(text)
        assert not demo.is_complete(tmp_path, TINY)
        with pytest.raises(errors.UserError, match="demo.json"):
            demo.read_ceiling(tmp_path)


def test_a_folder_in_use_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(errors.UserError, match="something other"):
        demo.write_corpus(tmp_path, find_landmarks=find_landmarks, options=TINY)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("found", [None, np.zeros((5, 2))])
def test_landmarks_that_fail_are_told(found, tmp_path):
    with pytest.raises(errors.UserError, match="68"):
        demo.write_corpus(
            tmp_path / "corpus",
            find_landmarks=lambda image: found,
            options=TINY,
        )
    assert list(tmp_path.iterdir()) == []


def test_workers_must_be_some(tmp_path):
    with pytest.raises(errors.UserError, match="workers"):
        demo.write_corpus(
            tmp_path / "corpus", find_landmarks=find_landmarks, workers=0
        )


# The faces.


def test_valence_moves_the_corners_of_the_mouth(person):
    for corner in (48, 54):
        assert shift_of(person, corner, pose(smile=1.0))[1] <= -4
        assert shift_of(person, corner, pose(frown=1.0))[1] >= 4


def test_head_goes_where_it_is_told(person):
    across, down = shift_of(person, 30, pose(shift=(0.3, -0.2)))
    assert across == pytest.approx(0.3 * person.unit, abs=2)
    assert down == pytest.approx(-0.2 * person.unit, abs=2)


def test_mouth_opens_dark_and_its_lips_stay(person):
    x, y = np.round(person.points[[62, 66]].mean(0) - person.margin).astype(int)
    below = y + int(0.22 * person.unit)
    still, open_ = person.render(pose()), person.render(pose(gape=0.35))
    assert open_[below, x].mean() < still[below, x].mean() - 40
    assert shift_of(person, 57, pose(gape=0.35))[1] > 0.2 * person.unit


def test_lids_cover_the_eye(person):
    x, y = np.round(person.points[36:42].mean(0) - person.margin).astype(int)
    still, closed = person.render(pose()), person.render(pose(lids=1.0))
    eye = np.s_[y - 3 : y + 3, x - 5 : x + 6]
    assert closed[eye].mean() > still[eye].mean() + 15
    changed = np.abs(closed.astype(int) - still).max(-1) > 8
    rows = np.flatnonzero(changed.any(1))
    assert abs(rows.mean() - y) < 10 and np.ptp(rows) < 0.6 * person.unit


def test_arousal_shows_in_pace_more_than_in_a_still():
    rng = np.random.default_rng(0)
    pace, still, beat = {}, {}, {}
    for arousal in (0.2, 0.8):
        utterance = dataclasses.replace(
            DEFAULT_PLAN[0].utterances[0],
            frames=30,
            true_arousal=arousal,
            true_valence=0.0,
        )
        gapes = []
        for _ in range(200):
            poses = demo_acting.act(
                rng, utterance, demo_acting.draw_habits(rng), 12.0
            )
            assert len(poses) == 30
            gapes.append([p.gape for p in poses])
        gapes = np.array(gapes)
        pace[arousal] = np.abs(np.diff(gapes)).mean(1)
        still[arousal] = gapes[:, 15]
        # Turns of the jaw, whatever its extent.
        turns = np.diff(np.sign(np.diff(gapes)), axis=1) != 0
        beat[arousal] = turns.sum(1)
    # Chance that the roused one of two is told from the other.
    told = {
        name: (by[0.8][:, None] > by[0.2][None]).mean()
        for name, by in (("pace", pace), ("still", still), ("beat", beat))
    }
    assert told["pace"] > 0.97 and told["beat"] > 0.97
    assert 0.4 < told["still"] < 0.76
