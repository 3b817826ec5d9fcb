import csv
import dataclasses
import functools
import gc
import json
import pathlib
import shutil
import weakref

import cv2
import numpy as np
import pytest
import skimage.data

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.faces import mesh
from affwild_omg.inference.options import PredictionOptions
from affwild_omg.preparation.options import PreparationOptions

HEADER = (
    "frame,time_s,face,x,y,width,height,confidence,valence,arousal,track,seen,"
    "blur,yaw,roll,quality,reason"
)
FPS = 10.0
# Frames of the portrait's video: a face, none, a face again.
MISSING = 5  # the frame without a face among faces of noise
FACE = [True] * 6 + [False] * 3 + [True] * 4


def write_video(path, frames, codec="mp4v"):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*codec), FPS, (width, height)
    )
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture(scope="module")
def portrait_corpus(tmp_path_factory):
    """OMG-Emotion with one clip of a portrait that drifts and goes."""
    source = tmp_path_factory.mktemp("portrait") / "corpus"
    portrait = skimage.data.astronaut()[:256, 96:352]
    cup = cv2.resize(skimage.data.coffee(), (256, 256))
    write_video(
        source / "v" / "utterance_1.mp4",
        [
            np.roll(portrait, 2 * index, axis=1) if face else cup
            for index, face in enumerate(FACE)
        ],
    )
    (source / "omg_TestVideos_WithLabels.csv").write_text(
        "link,start,end,video,utterance,arousal,valence,EmotionMaxVote\n"
        "x,0,1,v,utterance_1.mp4,0.5,0.5,3\n"
    )
    return source


@pytest.fixture(scope="module")
def predicting(tf):
    from affwild_omg.inference import video as predicting

    return predicting


@pytest.fixture
def options(predicting, small_saved_model, portrait_corpus, tmp_path):
    return PredictionOptions(
        model=str(small_saved_model),
        video=str(portrait_corpus / "v" / "utterance_1.mp4"),
        output=str(tmp_path / "out"),
    )


@pytest.fixture(scope="module")
def models(predicting):
    """The real detector and landmarker, loaded once."""
    return predicting.detection.Detector(), predicting.landmarks.Landmarker()


@pytest.fixture
def loaded(predicting, models, monkeypatch):
    """Saves loading the real models with every prediction."""
    detector, landmarker = models
    monkeypatch.setattr(predicting.detection, "Detector", lambda: detector)
    monkeypatch.setattr(predicting.landmarks, "Landmarker", lambda: landmarker)


def read_table(options):
    path = pathlib.Path(options.output, pathlib.Path(options.video).stem)
    text = path.with_suffix(".csv").read_text()
    assert text.startswith(f"{HEADER}\n")
    return list(csv.DictReader(text.splitlines()))


def test_every_frame_has_its_row(predicting, options, loaded):
    (summary,) = predicting.predict(options)
    rows = read_table(options)
    assert [int(row["frame"]) for row in rows] == list(range(len(FACE)))
    times = [float(row["time_s"]) for row in rows]
    np.testing.assert_allclose(times, np.arange(len(FACE)) / FPS, atol=2e-3)
    assert [row["face"] for row in rows] == [str(int(face)) for face in FACE]
    for index, (row, face) in enumerate(zip(rows, FACE, strict=True)):
        values = [row[name] for name in HEADER.split(",")[3:]]
        if not face:
            assert values == [""] * 13 + ["no face detected"]
            continue
        values, rest = values[:7], values[7:]
        assert rest[0] == "1"
        x, y, width, height, confidence, *_ = map(float, values)
        blur, yaw, roll, quality = map(float, rest[2:6])
        # She smiles into the camera, her head a little aslant.
        assert max(abs(yaw), abs(roll)) <= 15
        assert 0.3 < blur < 0.6
        assert 0 < quality <= confidence
        # Nose and mouth of the portrait, seen by eye.
        nose, mouth = 223 - 96 + 2 * index, 140
        assert x < nose < x + width
        assert y < 127 < mouth < y + height
        assert 0.7 < confidence <= 1
    valence = [float(row["valence"]) for row in rows if row["valence"]]
    # The first look is the detector's; the others are due 24 frames later, and
    # where the face was lost and came back.
    assert rows[0]["seen"] == "detected" and rows[1]["seen"] == "tracked"
    expected = {
        "video": "utterance_1.mp4",
        "frames": 13,
        "frames_with_face": 10,
        "without_face": {"no face detected": 3},
        "damage": None,
        "valence": pytest.approx(np.median(valence), abs=1e-6),
        "arousal": pytest.approx(
            np.median([float(x["arousal"]) for x in rows if x["arousal"]]),
            abs=1e-6,
        ),
    }
    assert {name: summary[name] for name in expected} == expected
    picture = cv2.imread(str(pathlib.Path(options.output, "utterance_1.png")))
    assert min(picture.shape[:2]) > 400 and picture.std() > 5


@pytest.fixture(scope="module")
def records_of(tf, portrait_corpus, tmp_path_factory):
    """Makes records of the portrait, once of each kind."""
    from affwild_omg.preparation import engine

    @functools.cache
    def records_of(**kind):
        records = str(tmp_path_factory.mktemp("kind") / "records")
        options = PreparationOptions(
            corpus="omg",
            source=str(portrait_corpus),
            records=records,
            **kind,
        )
        engine.prepare(options)
        return records

    return records_of


# Of the film's ten frames a second, in quarters: 0, 0.4, 0.8, ..., 4.8.
QUARTERS = [0, 2, 4, 7, 9, 12]


JPEG = {"crop_format": "jpeg"}
SLOW = JPEG | {"max_fps": 4.0}
MESH = {"landmarks": "mediapipe"}


@pytest.mark.parametrize(
    ("learned", "kept"),
    [({}, {}), (JPEG, JPEG), ({}, JPEG), (SLOW, SLOW), (MESH, MESH)],
)
def test_evaluate_scores_what_predict_gives(
    predicting,
    options,
    loaded,
    records_of,
    tmp_path,
    caplog,
    learned,
    kept,
):
    from affwild_omg.evaluation import evaluator as evaluation

    if MESH in (learned, kept):
        try:
            mesh.model_file()
        except UserError as error:
            pytest.skip(str(error))
    options = with_card(options, tmp_path, treatment=learned)
    length = 4  # which the small run was trained with
    evaluated = EvaluationOptions(
        model=options.model,
        records=records_of(**kept),
        output=str(tmp_path / "evaluated"),
    )
    found = evaluation.evaluate(evaluated)
    told = any(
        "learned from crops as png" in x and "have crops as jpeg" in x
        for x in caplog.messages
    )
    assert told == (learned != kept)
    assert found.provenance.sequence_length == length
    with open(tmp_path / "evaluated" / "predictions.csv") as file:
        (scored,) = csv.DictReader(file)

    predicting.predict(options)
    rows = read_table(options)
    assert len(rows) == len(FACE)
    if learned == SLOW:
        ends = [*QUARTERS[1:], len(FACE)]
        for first, end in zip(QUARTERS, ends, strict=True):
            for row, face in zip(rows[first:end], FACE[first:end], strict=True):
                assert row["face"] == str(int(face))
                assert row["valence"] in (rows[first]["valence"], "")
        rows = [rows[i] for i in QUARTERS]
    for target in ("valence", "arousal"):
        windows = [
            [float(row[target]) for row in rows[i : i + length] if row[target]]
            for i in range(0, len(rows), length)
        ]
        expected = np.mean([np.median(x) for x in windows if x])
        error = abs(float(scored[target]) - expected)
        assert (error <= 2e-6) == (learned == kept)


def test_faces_unlike_those_of_training_are_told(
    predicting, options, loaded, tmp_path, monkeypatch, caplog
):
    portrait = skimage.data.astronaut()[:256, 96:352]
    flat = (0.4 * portrait + 0.6 * 165).astype(np.uint8)
    films = {"dark": portrait // 3, "flat": flat, "like": portrait}
    for name, picture in films.items():
        write_video(tmp_path / f"{name}.mp4", [picture] * 5)
    options = dataclasses.replace(options, video=f"{tmp_path}/*.mp4")
    load = predicting.load_predictor
    # The face from brows to chin with some hair on either side, by eye.
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)[80:165, 80:170]
    brightness, contrast = grey.mean(), grey.std()
    crops = {
        "brightness": (0.9 * brightness, 1.1 * brightness),
        "contrast": (0.7 * contrast, 1.3 * contrast),
    }

    def knowing(known):
        def loading(*args, **settings):
            found = load(*args, **settings)
            card = dataclasses.replace(found.card, crops=known)
            return dataclasses.replace(found, card=card)

        monkeypatch.setattr(predicting, "load_predictor", loading)

    knowing(crops)
    dark, flat, like = predicting.predict(options)
    lines = [x for x in caplog.messages if "look unlike those of" in x]
    assert [x.split(":")[0] for x in lines] == ["dark.mp4", "flat.mp4"]
    low, high = (f"{x:.3g}" for x in crops["brightness"])
    assert (
        f"brightness {dark['crops']['brightness']:.3g} (in training {low} to "
        f"{high})"
    ) in lines[0]
    assert "brightness" not in lines[1] and "contrast" in lines[1]
    for crop, share in ((dark, 1 / 3), (flat, 0.4)):
        assert crop["crops"]["contrast"] == pytest.approx(
            share * like["crops"]["contrast"], rel=0.05
        )
    # A model of an earlier version.
    caplog.clear()
    knowing(None)
    again = dataclasses.replace(options, output=str(tmp_path / "again"))
    assert predicting.predict(again) == [dark, flat, like]
    assert not [x for x in caplog.messages if "look unlike" in x]


def fake_faces(predicting, monkeypatch, count, faces=None):
    """Makes faces of noise, and lets nobody look at the video's pixels.

    Returns:
        A list of how many faces are held by anyone, filled as they are made.
    """
    from affwild_omg.faces.views import Face, View

    random = np.random.default_rng(0)
    alive, most = weakref.WeakSet(), []

    def people_of_video(video, watch, **settings):
        video.decoded_frames = count
        for video.number in range(count):
            watch(video.number / 25, None)
        for index in range(count):
            face = Face(
                found=index != MISSING,
                box=(1.0, 2.0, 3.0, 4.0),
                confidence=0.5,
                crop=random.integers(0, 256, (96, 96, 3), np.uint8),
                landmarks=random.uniform(0, 96, (68, 2)).astype(np.float32),
            )
            alive.add(face)
            most.append(len(alive))
            if faces is not None:
                faces.append(face)
            view = View("nobody", {1: face} if face.found else {})
            yield index / 25, view
            del face, view  # or the generator itself would keep one

    monkeypatch.setattr(predicting.tracking, "people_of_video", people_of_video)
    for room, name in (
        (predicting.detection, "Detector"),
        (predicting.landmarks, "Landmarker"),
    ):
        monkeypatch.setattr(room, name, lambda: None)
    return most


def with_card(options, tmp_path, **changes):
    """Copies a SavedModel whose card says something else."""
    shutil.copytree(options.model, tmp_path / "model")
    card = tmp_path / "model" / "assets.extra" / "card.json"
    content = json.loads(card.read_text()) | changes
    card.write_text(json.dumps(content))
    return dataclasses.replace(options, model=str(tmp_path / "model"))


@pytest.mark.parametrize(
    ("length", "tail", "windows"),
    [
        (0, "pad", [(0, 0, 4), (4, 4, 8), (8, 8, 10)]),
        (80, "pad", [(0, 0, 10)]),
        (0, "overlap", [(0, 0, 4), (4, 4, 8), (6, 8, 10)]),
        (0, "spread", [(0, 0, 4), (4, 4, 7), (7, 7, 10)]),
    ],
)
def test_windows_by_another_way(
    predicting, options, small_run, monkeypatch, tmp_path, length, tail, windows
):
    from affwild_omg.weights import model_file as model_files

    faces = []
    options = with_card(options, tmp_path, tail=tail)
    fake_faces(predicting, monkeypatch, 10, faces)
    options = dataclasses.replace(options, sequence_length=length)
    predicting.predict(options)
    model, _ = model_files.load_model(small_run[0].workdir)
    rows = read_table(options)
    assert len(rows) == 10
    for start, scored, stop in windows:
        window = faces[start:stop]  # never padded
        expected = model(
            {
                "frames": np.stack([face.crop for face in window])[None],
                "landmarks": np.stack([f.landmarks for f in window])[None],
                "mask": np.array([[face.found for face in window]]),
            },
            training=False,
        ).numpy()[0]
        for i, values in enumerate(expected[scored - start :], scored):
            row = [rows[i][name] for name in ("valence", "arousal")]
            if i == MISSING:
                assert row == ["", ""]
                continue
            found = [float(x) for x in row]
            np.testing.assert_allclose(found, values, atol=1e-5)
    assert rows[9]["time_s"] == "0.360000"
    assert [rows[9][name] for name in ("x", "height")] == ["1.0", "4.0"]


@pytest.mark.parametrize(
    ("max_fps", "kept"),
    # Of 25 frames a second, in 2.75ths: 0, ..., 0.44, 0.55, 0.66, ...
    [(12.5, [0, 2, 4, 6, 8]), (2.75, [0, MISSING])],
)
@pytest.mark.parametrize("mode", ["windows", "overlap"])
def test_the_network_sees_as_many_frames_a_second_as_in_training(
    predicting, options, small_run, monkeypatch, tmp_path, mode, max_fps, kept
):
    from affwild_omg.weights import model_file as model_files

    faces = []
    treatment = {"max_fps": max_fps}
    options = with_card(options, tmp_path, treatment=treatment, tail="pad")
    options = dataclasses.replace(options, mode=mode)
    fake_faces(predicting, monkeypatch, 10, faces)
    predicting.predict(options)
    model, _ = model_files.load_model(small_run[0].workdir)
    rows = read_table(options)
    assert [int(row["frame"]) for row in rows] == list(range(10))
    assert [float(x["time_s"]) for x in rows] == [n / 25 for n in range(10)]
    expected = {}
    for start, scored, stop in (0, 0, 4), (4 if mode == "windows" else 2, 4, 5):
        window = [faces[n] for n in kept[start:stop]]
        if scored >= len(kept):
            continue
        values = model(
            {
                "frames": np.stack([face.crop for face in window])[None],
                "landmarks": np.stack([x.landmarks for x in window])[None],
                "mask": np.array([[face.found for face in window]]),
            },
            training=False,
        ).numpy()[0]
        places = kept[scored:stop]
        expected |= zip(places, values[scored - start :], strict=True)
    for number, row in enumerate(rows):
        own = max(x for x in kept if x <= number)
        found = [row[name] for name in ("valence", "arousal")]
        if MISSING in (number, own):
            reason = "nobody"
            if number != MISSING:
                reason = "seen only in a frame that the model leaves out"
            assert (*found, row["reason"]) == ("", "", reason)
            continue
        found = [float(x) for x in found]
        np.testing.assert_allclose(found, expected[own], atol=1e-5)
        assert row["face"] == "1" and row["x"] == "1.0"


def test_a_long_video_fits_into_memory(predicting, options, monkeypatch):
    most = fake_faces(predicting, monkeypatch, 300)
    gc.disable()
    try:
        predicting.predict(dataclasses.replace(options, sequence_length=10))
    finally:
        gc.enable()
    assert len(read_table(options)) == 300
    # The window at hand, the one before it, and the face in the making.
    assert max(most) <= 22


def test_a_video_without_a_face_has_empty_rows(predicting, options, loaded):
    cup = cv2.resize(skimage.data.coffee(), (128, 128))
    path = write_video(pathlib.Path(options.output).parent / "x.avi", [cup] * 2)
    options = dataclasses.replace(options, video=str(path))
    (summary,) = predicting.predict(options)
    assert summary["frames"] == 2
    assert summary["frames_with_face"] == 0
    assert summary["valence"] is None
    assert [row["valence"] for row in read_table(options)] == ["", ""]
    assert pathlib.Path(options.output, "x.png").exists()


def test_a_truncated_video_gives_what_it_holds(
    predicting, options, monkeypatch, tmp_path, caplog
):
    from affwild_omg.faces.views import View

    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8)
    whole = write_video(tmp_path / "whole.avi", list(noise), "MJPG")
    content = whole.read_bytes()
    part = tmp_path / "part.avi"
    part.write_bytes(content[: len(content) // 2])

    def people_of_video(video, watch, **_):
        # All frames are read before the first face is given.
        times = [(time_s, watch(time_s, frame)) for time_s, frame in video]
        yield from [(time_s, View("nobody")) for time_s, _ in times]

    monkeypatch.setattr(predicting.tracking, "people_of_video", people_of_video)
    options = dataclasses.replace(options, video=str(part))
    with caplog.at_level("WARNING"):
        (summary,) = predicting.predict(options)
    assert summary["damage"]
    assert 10 < summary["frames"] < 30
    assert len(read_table(options)) == summary["frames"]
    said = [r.getMessage() for r in caplog.records if r.name == "absl"]
    assert len(said) == 1
    assert f"the {summary['frames']} frames that could be decoded" in said[0]


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("single_face.mp4", 72),
        pytest.param("cap13_edit2.mp4", 765, marks=pytest.mark.slow),
        pytest.param("asl_yes.mkv", 65, marks=pytest.mark.slow),
    ],
)
def test_real_clips_are_predicted(
    predicting, options, loaded, clip, name, frames
):
    options = dataclasses.replace(options, video=str(clip(name)))
    (summary,) = predicting.predict(options)
    rows = read_table(options)
    assert len(rows) == summary["frames"] == frames
    faces = [row for row in rows if row["face"] == "1"]
    assert len(faces) == summary["frames_with_face"] >= 0.95 * frames
    assert all(row["valence"] and row["arousal"] for row in faces)
    times = [float(row["time_s"]) for row in rows]
    assert (np.diff(times) > 0).all()
