"""What the films' plan draws, how they lie on disk, and what records hold."""

import dataclasses

import cv2
import numpy as np
import pytest

from affwild_omg.corpora import affwild2 as reader
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.synthetic import acting, affwild2, corpus, faces, plan

PLAN = affwild2.plan_films()
FADE = 6
SETS = {"train": "Train_Set", "validation": "Validation_Set"}


def moods(*truths):
    return tuple(
        plan.Mood(frames=12, true_valence=valence, true_arousal=arousal)
        for valence, arousal in truths
    )


SAD, GLAD, CALM = (-0.8, 0.4), (0.8, 0.6), (0.1, 0.1)
TWO = affwild2.Film(
    split="train",
    index=1,
    name="two",
    blends=(0.1, 0.9),
    moods=(moods(SAD, GLAD), moods(GLAD, CALM)),
    unannotated=(20, 24),
)
ALONE = dataclasses.replace(
    TWO, name="alone", blends=(0.1,), moods=TWO.moods[:1], unannotated=(0, 0)
)
AWAY = affwild2.Film(
    split="validation",
    index=2,
    name="away",
    blends=(0.4,),
    moods=(moods(CALM, SAD, GLAD),),
    away=(14, 26),
    turned=True,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("films") / "affwild2"
    write(directory, [TWO, AWAY])
    return directory


def write(directory, films, **settings):
    options = corpus.CorpusOptions(directory=str(directory), edition=1)
    affwild2.write_corpus(options, films=films, workers=1, **settings)


def decode(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        more, frame = capture.read()
        if not more:
            return np.array(frames).astype(int)
        frames.append(frame)


def interpolated(told):
    """Returns what moods tell each frame [frames, 2], worked out by knots."""
    knots, values, start = (
        [0],
        [(told[0].true_valence, told[0].true_arousal)],
        0,
    )
    for before, mood in zip(told, told[1:], strict=False):
        start += before.frames
        knots += [start - 1, start + FADE]
        values += [values[-1], (mood.true_valence, mood.true_arousal)]
    moments = range(start + told[-1].frames)
    return np.stack(
        [np.interp(moments, knots, column) for column in np.transpose(values)],
        1,
    )


# The plan.


def test_the_films_have_what_is_hard_in_aff_wild2():
    assert {film.split for film in PLAN} == {"train", "validation"}
    *_, second, longest = sorted(film.frames for film in PLAN)
    assert longest > 1500 and second < 400
    for split in SETS:
        films = [film for film in PLAN if film.split == split]
        assert [len(x.moods) for x in films].count(2) == 1
        assert any(film.away for film in films)
        assert any(film.turned for film in films)
        assert any(film.unannotated[1] for film in films)


def test_nobody_is_of_the_other_corpus_or_seen_twice():
    blends = [blend for film in PLAN for blend in film.blends]
    others = [video.blend for video in plan.plan_corpus()]
    assert len({*blends, *others}) == len(blends) + len(others)


@pytest.mark.parametrize("film", [*PLAN, TWO, AWAY], ids=lambda x: x.name)
def test_a_frames_label_is_what_the_actor_was_told(film, monkeypatch):
    annotations = film.annotations()
    sides = [""] if len(film.moods) == 1 else ["_left", "_right"]
    assert list(annotations) == [f"{film.name}{side}.txt" for side in sides]
    # An actor who shows just what is told.
    monkeypatch.setattr(
        acting,
        "act",
        lambda rng, mood, habits: (
            [
                faces.Pose(
                    actions=np.zeros(1),
                    gape=mood.true_valence,
                    size=mood.true_arousal,
                )
            ]
            * mood.frames
        ),
    )
    first, last = film.unannotated
    for labels, told in zip(annotations.values(), film.moods, strict=True):
        poses = affwild2._act(None, told, None)
        acted = np.array([(pose.gape, pose.size) for pose in poses])
        assert len(acted) == len(labels) == film.frames
        np.testing.assert_allclose(acted, interpolated(told), atol=1e-12)
        assert (labels[first:last] == -5).all()
        outside = np.ones(film.frames, bool)
        outside[first:last] = False
        np.testing.assert_allclose(labels[outside], acted[outside])


# The files.


def test_annotations_have_a_row_for_each_frame_of_their_film(written):
    clips = {clip.utterance: clip for clip in reader.read(written)}
    assert {name: x.split for name, x in clips.items()} == {
        "two_left": "train",
        "two_right": "train",
        "away": "validation",
    }
    assert {name: x.side for name, x in clips.items()} == {
        "two_left": "left",
        "two_right": "right",
        "away": None,
    }
    for clip in clips.values():
        assert clip.rows == len(decode(clip.path))
    text = (written / "Train_Set" / "two_left.txt").read_text().splitlines()
    assert text[:2] == ["valence,arousal", "-0.8,0.4"]
    assert text[-4:] == ["-5,-5"] * 4
    wanted = interpolated(TWO.moods[1])
    wanted[20:] = np.nan
    found = np.transpose(clips["two_right"].frame_labels)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_first_of_two_people_is_on_the_left(written, tmp_path):
    write(tmp_path / "films", [ALONE])
    alone = decode(tmp_path / "films" / "batch2" / "alone.mp4")
    two = decode(written / "batch2" / "two.mp4")
    assert two.shape == (24, 256, 512, 3)
    assert np.abs(two[:, :, :256] - alone).mean() < 6
    assert np.abs(two[:, :, 256:] - alone).mean() > 20


# What records hold.


@pytest.fixture(scope="module")
def prepared(written, tf, tmp_path_factory):
    """Returns a function: a clip's records and report, by its name."""
    from affwild_omg.data import records
    from affwild_omg.faces import detection, landmarks
    from affwild_omg.preparation import worker

    folder = tmp_path_factory.mktemp("films") / "staging"
    options = PreparationOptions(
        corpus="affwild2", source=str(written), records=str(folder)
    )
    tools = {
        "landmarker": landmarks.Landmarker(),
        "detector": detection.Detector(),
        "detect_every": options.detect_every,
    }
    clips = {clip.utterance: clip for clip in reader.read(written)}

    def prepare(name):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker, "start", lambda *_: None)
            patch.setattr(worker, "_tracking", tools)
            report = worker.prepare(folder, options, clips[name])
        (path,) = folder.rglob(f"{name}.tfrecord")
        raw = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        frames = report["frames"]
        parsed = {x: y.numpy()[:frames] for x, y in records.parse(raw).items()}
        images = [records.decode(x).numpy() for x in parsed["image"]]
        return report, parsed | {"image": np.array(images).astype(int)}

    return prepare


def test_records_hold_the_right_person_and_no_label_where_none_is(
    prepared, written
):
    film = decode(written / "batch2" / "two.mp4")[..., ::-1]
    colours = [
        np.median(half[:, 100:150, 108:148], (0, 1, 2))
        for half in (film[:, :, :256], film[:, :, 256:])
    ]
    for number, side in enumerate(("left", "right")):
        report, found = prepared(f"two_{side}")
        assert report["frames"] == len(film) == 24
        seen = found["mask"]
        assert seen.sum() >= 20
        colour = np.median(found["image"][seen, 32:62, 36:60], (0, 1, 2))
        own, other = (
            np.abs(colour - x).mean() for x in np.roll(colours, -number, 0)
        )
        assert 3 * own < other
        wanted = interpolated(TWO.moods[number])
        wanted[20:] = np.nan
        np.testing.assert_allclose(found["labels"], wanted, atol=1e-5)


def test_a_face_that_leaves_the_picture_keeps_its_rows(prepared):
    report, found = prepared("away")
    # It is whole until frame 8 and from frame 31 on.
    assert found["mask"][:9].all() and found["mask"][-5:].all()
    assert not found["mask"][14:26].any()
    assert report["frames"] == 36
    wanted = interpolated(AWAY.moods[0])
    np.testing.assert_allclose(found["labels"], wanted, atol=1e-5)
