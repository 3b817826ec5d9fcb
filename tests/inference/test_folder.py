"""Several videos and one folder of results, with a made-up network."""

import dataclasses
import hashlib
import io
import json
import logging
import pathlib
import sys

import numpy as np
import pandas as pd
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.inference.options import PredictionOptions
from tests.inference.test_video import fake_faces, write_video

FRAMES = 10


@pytest.fixture
def predicting(tf, monkeypatch):
    """The room, whose network answers with the brightness of a crop."""
    from affwild_omg.inference import predictor, video
    from affwild_omg.paper.task import TARGETS

    def predict(inputs):
        light = np.asarray(inputs["frames"]).mean(axis=(2, 3, 4)) / 255
        return np.stack([light, -light], axis=-1).astype(np.float32)

    own = predictor.Predictor(
        card=None,
        targets=TARGETS,
        predict=predict,
        step=None,
        state_size=0,
    )
    monkeypatch.setattr(video, "load_predictor", lambda *_, **__: own)
    fake_faces(video, monkeypatch, FRAMES)
    return video


@pytest.fixture
def options(predicting, tmp_path):
    """Two films, a and b, in a folder, and a model."""
    black = np.zeros((40, 48, 3), np.uint8)
    for name in ("a.mp4", "b.avi"):
        write_video(tmp_path / "films" / name, [black] * 3)
    (tmp_path / "model.keras").write_bytes(b"weights")
    return PredictionOptions(
        model=str(tmp_path / "model.keras"),
        video=str(tmp_path / "films"),
        output=str(tmp_path / "out"),
        sequence_length=4,
    )


def names(options):
    return sorted(x.name for x in pathlib.Path(options.output).iterdir())


def contents(options):
    return {
        x.name: (x.read_bytes(), x.stat().st_mtime_ns)
        for x in pathlib.Path(options.output).iterdir()
    }


BOTH = ["a.csv", "a.json", "a.png", "b.csv", "b.json", "b.png"]


def test_a_folder_of_videos_has_results_in_one_folder(predicting, options):
    summaries = predicting.predict(options)
    assert [x["video"] for x in summaries] == ["a.mp4", "b.avi"]
    assert names(options) == BOTH
    output = pathlib.Path(options.output)
    film = pathlib.Path(options.video, "a.mp4")
    content = json.loads((output / "a.json").read_text())
    assert content["clip"] == summaries[0]
    made = content["made_by"]
    assert made["model"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert made["video"] == {
        "path": str(film),
        "bytes": film.stat().st_size,
        "sha256": hashlib.sha256(film.read_bytes()).hexdigest(),
    }
    assert made["options"]["sequence_length"] == 4
    assert content["files"] == {
        name: (output / name).stat().st_size for name in ("a.csv", "a.png")
    }


def test_another_video_is_no_conflict_but_the_same_is(predicting, options):
    first = dataclasses.replace(options, video=f"{options.video}/a.mp4")
    predicting.predict(first)
    kept = contents(options)
    second = dataclasses.replace(options, video=f"{options.video}/b.avi")
    predicting.predict(second)
    assert names(options) == BOTH
    assert kept.items() <= contents(options).items()
    kept = contents(options)
    with pytest.raises(UserError, match="holds results of a, b; give --resume"):
        predicting.predict(options)
    assert contents(options) == kept
    predicting.predict(first, overwrite=True)
    changed = contents(options)
    assert {x for x in kept if kept[x] != changed[x]} == {*BOTH[:3]}


def test_one_that_is_gone_on_overwriting_leaves_nothing_old(
    predicting, options
):
    predicting.predict(options)
    output = pathlib.Path(options.output)
    (output / "c.csv").write_text("mine")
    # Where the film ends in between, so does the summary of what was there.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicting.files, "write_json", fail)
        with pytest.raises(OSError, match="No space"):
            predicting.predict(options, overwrite=True)
    assert names(options) == ["a.csv", "a.png", *BOTH[3:], "c.csv"]


def fail(*_):
    raise OSError(28, "No space left on device")


def test_resume_skips_what_is_whole_and_tells(predicting, options, caplog):
    caplog.set_level("INFO", logger="absl")
    again = dataclasses.replace(options, resume=True)
    only = dataclasses.replace(again, video=f"{options.video}/a.mp4")
    predicting.predict(only)
    kept = contents(options)
    with caplog.at_level(logging.INFO):
        (summary,) = predicting.predict(again)
    assert summary["video"] == "b.avi"
    assert "1 video: already done" in caplog.messages
    assert names(options) == BOTH
    assert kept.items() <= contents(options).items()
    assert predicting.predict(again) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda options: {"sequence_length": 8}, r"another --sequence_length;"),
        (
            lambda options: (
                pathlib.Path(options.model).write_bytes(b"others") and {}
            ),
            "another model;",
        ),
        (
            lambda options: (
                pathlib.Path(options.video, "b.avi").write_bytes(
                    pathlib.Path(options.video, "a.mp4").read_bytes()
                )
                and {}
            ),
            "results of b were made by another video;",
        ),
        (
            lambda options: (
                pathlib.Path(options.output, "b.png").unlink() or {}
            ),
            r"not whole \(b.png\)",
        ),
        (
            lambda options: (
                pathlib.Path(options.output, "b.csv").write_text("") or {}
            ),
            r"not whole \(b.csv\)",
        ),
        (
            lambda options: (
                pathlib.Path(options.output, "b.json").unlink() or {}
            ),
            r"not whole \(b.json\)",
        ),
        (
            lambda options: (
                pathlib.Path(options.output, "b.json").write_text("[]") and {}
            ),
            r"not whole \(b.json\)",
        ),
    ],
)
def test_what_is_not_the_wanted_result_is_told(
    predicting, options, change, word
):
    predicting.predict(options)
    changed = dataclasses.replace(options, resume=True, **change(options))
    kept = contents(options)
    with pytest.raises(UserError, match=word):
        predicting.predict(changed)
    assert contents(options) == kept
    predicting.predict(changed, overwrite=True)
    assert predicting.predict(changed) == []


def test_one_bad_video_does_not_end_the_others(predicting, options, caplog):
    films = pathlib.Path(options.video)
    (films / "aa.mp4").write_text("this is not a video")
    (films / "c.mp4").touch()
    with pytest.raises(UserError, match=r"2 of 4 .*: aa.mp4, c.mp4;"):
        predicting.predict(options)
    assert names(options) == BOTH
    told = [x for x in caplog.messages if "not a video" in x]
    assert [x.split(":")[0] for x in told] == [
        str(films / "aa.mp4"),
        str(films / "c.mp4"),
    ]
    # What was done stays done; what is bad is told again.
    again = dataclasses.replace(options, resume=True)
    with pytest.raises(UserError, match="2 of 2 .*: aa.mp4, c.mp4;"):
        predicting.predict(again)


def test_a_bad_model_ends_at_once(predicting, options, monkeypatch):
    def load(path, **how):
        raise UserError("--model is damaged")

    monkeypatch.setattr(predicting, "load_predictor", load)
    with pytest.raises(UserError, match="^--model is damaged"):
        predicting.predict(options)
    assert not pathlib.Path(options.output).exists()


@pytest.mark.parametrize(
    ("second", "word"),
    [("films/a.avi", "would both be a.csv"), ("more/a.mp4", "would both be")],
)
def test_two_of_one_name_are_refused(predicting, options, second, word):
    second = pathlib.Path(options.video).parent / second
    write_video(second, [np.zeros((40, 48, 3), np.uint8)])
    both = dataclasses.replace(options, video=f"{options.video}/a.mp4,{second}")
    with pytest.raises(UserError, match=word):
        predicting.predict(both)
    assert not pathlib.Path(options.output).exists()


def test_bars_reach_their_end(predicting, options, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    predicting.predict(options)
    lines = screen.getvalue().replace("\r", "\n").splitlines()
    ends = [x for x in lines if x.startswith("predicting 2/2") and "10/10" in x]
    assert ends and "100%" in ends[-1]


def test_a_long_videos_picture_is_drawn_of_few_points(predicting):
    from affwild_omg.figures import courses

    values = np.random.default_rng(0).normal(size=(20_001, 2))
    values[5000:6000] = np.nan
    times = np.arange(20_001) / 25
    drawn_at, drawn = courses._thinned(times, values)
    assert len(drawn_at) == len(drawn) <= courses._MANY + 2
    assert (np.diff(drawn_at) >= 0).all()
    for begin in (0, 72):  # of nine frames, the least and the largest
        part, row = values[begin : begin + 9], 2 * begin // 9
        np.testing.assert_array_equal(drawn[row], part.min(axis=0))
        np.testing.assert_array_equal(drawn[row + 1], part.max(axis=0))
    empty = np.isnan(drawn).all(axis=1)
    assert drawn_at[empty].min() == pytest.approx(5004 / 25)  # 556 x 9
    assert drawn_at[empty].max() < 6000 / 25
    few = times[:5000], values[:5000]
    assert courses._thinned(*few) == few


def table_of(options, name="a"):
    return pd.read_csv(pathlib.Path(options.output, f"{name}.csv"))


def one(options, **changes):
    return dataclasses.replace(
        options, video=f"{options.video}/a.mp4", **changes
    )


def test_overlap_leaves_no_spikes(predicting, options, monkeypatch):
    """The network remembers half of what it saw before."""

    def remember(inputs):
        light = np.asarray(inputs["frames"]).mean(axis=(2, 3, 4)) / 255
        state, found = np.zeros(len(light)), []
        for now, seen in zip(
            light.T, np.asarray(inputs["mask"]).T, strict=True
        ):
            state = np.where(seen, (state + now) / 2, state)
            found.append(state)
        return np.stack([np.stack(found, axis=1)] * 2, axis=-1)

    model = predicting.load_predictor("")
    model = dataclasses.replace(model, predict=remember)
    monkeypatch.setattr(predicting, "load_predictor", lambda *_, **__: model)
    jumps, values = {}, {}
    for mode in ("windows", "overlap"):
        fake_faces(predicting, monkeypatch, 100)
        chosen = one(options, mode=mode, sequence_length=20)
        predicting.predict(chosen, overwrite=True)
        values[mode] = table_of(options)["valence"].to_numpy()
        steps = np.abs(np.diff(values[mode]))[20:]
        borders = np.zeros(len(steps), bool)
        # Windows begin at 40, 60, 80; or count from 30, 40, 50 on.
        borders[19 :: 20 if mode == "windows" else 10] = True
        borders[9] = mode == "overlap"
        jumps[mode] = steps[borders], steps[~borders]
    at_borders, elsewhere = jumps["windows"]
    assert at_borders.min() > 10 * np.median(elsewhere)
    at_borders, elsewhere = jumps["overlap"]
    assert at_borders.max() <= elsewhere.max()
    assert np.median(at_borders) < 2 * np.median(elsewhere)
    np.testing.assert_array_equal(
        values["windows"][:20], values["overlap"][:20]
    )


@pytest.fixture
def two_people(predicting, monkeypatch):
    """Person 1 is light and in all frames but 7, person 2 dark in 3 to 8."""
    from affwild_omg.faces.views import ANOTHER, View
    from tests.faces.test_quality import face

    def shown(light, number):
        crop = np.full((96, 96, 3), light + number, np.uint8)
        return dataclasses.replace(face(), crop=crop, detected=number == 0)

    def people_of_video(video, most, watch, **_):
        video.decoded_frames = FRAMES
        for video.number in range(FRAMES):
            watch(video.number / 4, None)
        for number in range(FRAMES):
            faces = {1: shown(200, number)} if number != 7 else {}
            if 3 <= number <= 8 and most > 1:
                faces[2] = shown(50, number)
            yield number / 4, View(ANOTHER, faces)

    monkeypatch.setattr(predicting.tracking, "people_of_video", people_of_video)


def test_each_person_has_rows_and_values(predicting, options, two_people):
    predicting.predict(one(options, faces=2))
    table = table_of(options)
    expected = [
        (number, track, (light + number) / 255)
        for number in range(FRAMES)
        for track, light in ((1, 200), (2, 50))
        if (number != 7 if track == 1 else 3 <= number <= 8)
    ]
    found = table[["frame", "track", "valence"]].itertuples(index=False)
    for row, (number, track, value) in zip(found, expected, strict=True):
        assert row[:2] == (number, track)
        assert row[2] == pytest.approx(value, abs=1e-6)
    assert (table["face"] == 1).all()
    assert table["seen"].tolist() == ["detected"] + ["tracked"] * 14
    assert (table["quality"] == 0).all()  # crops without any detail
    assert (table["reason"] == "blurred").all()


def test_one_person_has_a_row_for_each_frame(predicting, options, two_people):
    predicting.predict(one(options))
    table = table_of(options)
    assert table["frame"].tolist() == list(range(FRAMES))
    assert table.loc[7, ["face", "reason"]].tolist() == [0, "another person"]
    assert table.loc[7, ["x", "valence", "track", "seen"]].isna().all()


@pytest.mark.parametrize("faces", [1, 2])
def test_the_summary_by_pandas(predicting, options, two_people, faces):
    predicting.predict(one(options, faces=faces))
    table = table_of(options)
    path = pathlib.Path(options.output, "a.json")
    content = json.loads(path.read_text())
    clip, seen = content["clip"], table[table["face"] == 1]
    assert (clip["frames"], clip["duration_s"]) == (10, 2.25)
    assert clip["frames_with_face"] == seen["frame"].nunique()
    without = {"another person": 1} if faces == 1 else {}
    assert clip["without_face"] == without
    main = seen[seen["track"] == 1]
    assert clip["arousal"] == pytest.approx(main["arousal"].median(), abs=2e-6)
    assert [x["track"] for x in clip["faces"]] == [1, 2][:faces]
    for entry in clip["faces"]:
        own = seen[seen["track"] == entry["track"]]
        assert entry["frames"] == len(own)
        assert entry["first_s"] == own["time_s"].min()
        assert entry["last_s"] == own["time_s"].max()
        expected = own["valence"].agg(["mean", "median", "min", "max"])
        assert list(entry["valence"].values()) == pytest.approx(
            expected.tolist(), abs=2e-6
        )
    seconds = content["seconds"]
    assert [(x["second"], x["frames"]) for x in seconds] == [
        *((0, 4), (1, 4), (2, 2))
    ]
    for entry in seconds:
        now = seen[np.floor(seen["time_s"]) == entry["second"]]
        means = now.groupby("track")[["valence", "arousal"]].mean()
        assert [x["track"] for x in entry["faces"]] == means.index.tolist()
        for face, (_, expected) in zip(
            entry["faces"], means.iterrows(), strict=True
        ):
            assert face["frames"] == (now["track"] == face["track"]).sum()
            for name, value in expected.items():
                assert face[name] == pytest.approx(value, abs=2e-6)


def test_an_annotated_film_has_the_videos_frames(predicting, options):
    black = np.zeros((40, 48, 3), np.uint8)
    path = pathlib.Path(options.video, "a.mp4")
    write_video(path, [black] * FRAMES)
    predicting.predict(one(options, annotate=True))
    assert names(options) == ["a.csv", "a.json", "a.png", "a_annotated.mp4"]
    with predicting.Video(path) as film:
        expected = [time_s for time_s, _ in film]
    with predicting.Video(f"{options.output}/a_annotated.mp4") as film:
        assert [time_s for time_s, _ in film] == pytest.approx(expected)
    # Such a film beside the others would be replaced by its own video's.
    both = dataclasses.replace(options, video=options.output, annotate=True)
    (pathlib.Path(options.output) / "a.mp4").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="a_annotated.mp4 is to be a result"):
        predicting.predict(both, overwrite=True)


def test_what_is_not_ours_stays(predicting, options):
    """An annotation of the film in ELAN, and a table of an earlier format."""
    output = pathlib.Path(options.output)
    predicting.predict(one(options, format=["fex"]))
    (output / "a.eaf").write_text("mine")
    assert "a_fex.csv" in names(options)
    predicting.predict(one(options), overwrite=True)
    assert names(options) == ["a.csv", "a.eaf", "a.json", "a.png"]
    assert (output / "a.eaf").read_text() == "mine"
    with pytest.raises(UserError, match="holds results of a"):
        predicting.predict(one(options, format=["elan"]))


def test_rows_have_the_numbers_of_the_film(predicting, options, monkeypatch):
    """Which counts frames that damage took away, as labels do."""
    from affwild_omg.faces.views import ANOTHER, View

    def people_of_video(video, watch, **_):
        video.decoded_frames = 3
        for index, video.number in enumerate((0, 3, 4)):
            watch(index / 4, None)
        for index in range(3):
            yield index / 4, View(ANOTHER, {})

    monkeypatch.setattr(predicting.tracking, "people_of_video", people_of_video)
    predicting.predict(one(options))
    assert table_of(options)["frame"].tolist() == [0, 3, 4]
