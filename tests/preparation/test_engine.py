import concurrent.futures
import concurrent.futures.process
import dataclasses
import errno
import functools
import json
import os
import shutil
import sys

import cv2
import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import omg, readers
from affwild_omg.preparation.options import (
    PreparationOptions,
    VerificationOptions,
)

HEADER = "link,start,end,video,utterance,arousal,valence,EmotionMaxVote\n"


@pytest.fixture(scope="module")
def preparing(tf):
    from affwild_omg.preparation import engine

    return engine


@pytest.fixture(scope="module")
def manifests(tf):
    from affwild_omg.data import manifest

    return manifest


def write_video(path, frames, codec="mp4v", path_of=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(
        str(path_of or path), cv2.VideoWriter_fourcc(*codec), 10.0, (64, 48)
    )
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 10 * index % 256, np.uint8))
    writer.release()


def write_table(source, rows, name="omg_TrainVideos.csv"):
    lines = [
        f"link,0,1,{video},{utterance},{arousal},{valence},0\n"
        for video, utterance, arousal, valence in rows
    ]
    (source / name).write_text(HEADER + "".join(lines))


@pytest.fixture
def source(tmp_path):
    """A corpus of five utterances, of which two can be prepared."""
    source = tmp_path / "corpus"
    write_video(source / "ann" / "u1.mp4", frames=4)
    write_video(source / "bob" / "u3.mp4", frames=6)
    (source / "bob" / "u5.mp4").write_text("this is no video")
    write_table(
        source,
        [
            ("bob", "u3.mp4", 0.75, -0.5),
            ("bob", "u5.mp4", 0.1, 0.1),
            ("ann", "u1.mp4", 0.25, 0.5),
        ],
    )
    write_table(
        source,
        [("gone", "u1.mp4", 0, 0), ("gone", "u2.mp4", 0, 0)],
        "omg_ValidationVideos.csv",
    )
    return source


class Here(concurrent.futures.Executor):
    """Runs each job at once, in this process."""

    def submit(self, function, *arguments):
        future = concurrent.futures.Future()
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future


@pytest.fixture
def fake(preparing, monkeypatch):
    """Makes every frame but the second a face of the frame's own grey."""
    from affwild_omg.faces.tracking import Face

    seen = []

    def faces_of_video(video, watch=None, **settings):
        seen.append(video.path)
        for index, (time_s, frame) in enumerate(video):
            face = Face(
                found=True,
                box=(0.0, 0.0, 9.0, 9.0),
                confidence=1.0,
                crop=np.full((96, 96, 3), frame.mean(), np.uint8),
                landmarks=np.full((68, 2), index, np.float32),
            )
            if watch is not None:
                watch(time_s, frame)
            yield time_s, Face.missing("why") if index == 1 else face

    monkeypatch.setattr(
        preparing.worker.tracking, "faces_of_video", faces_of_video
    )
    monkeypatch.setattr(preparing.worker, "start", lambda *_: None)
    monkeypatch.setattr(
        concurrent.futures, "ProcessPoolExecutor", lambda *_, **__: Here()
    )
    return seen


def options_of(source, **changes):
    settings = {"corpus": "omg", "records": str(source.parent / "records")}
    return PreparationOptions(source=str(source), **(settings | changes))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_manifest_counts_everything(preparing, manifests, source, fake):
    options = options_of(source)
    manifest = preparing.prepare(options)
    target = source.parent / "records"
    assert manifests.read(target).content == manifest
    train = manifest["splits"]["train"]
    failed = train.pop("failed")
    for clip in train["utterances"]:
        ((size, _),) = clip.pop("chunks")
        path = target / "train" / clip["video"] / clip["utterance"]
        assert path.with_suffix(".mp4.tfrecord").stat().st_size == size + 16
    assert train == {
        "expected": 3,
        "found": 3,
        "prepared": 2,
        "frames": 10,
        "frames_without_face": 2,
        "without_face": {"why": 2},
        "damaged": [],
        "utterances": [
            {
                "video": video,
                "utterance": utterance,
                "source": "link",
                "frames": frames,
                "frames_without_face": 1,
                "without_face": {"why": 1},
                "labels": {
                    name: {
                        "frames": frames,
                        "frames_with_face": frames - 1,
                        "mean": mean,
                    }
                    for name, mean in (
                        ("valence", valence),
                        ("arousal", arousal),
                    )
                },
            }
            for video, utterance, frames, valence, arousal in (
                ("bob", "u3.mp4", 6, -0.5, 0.75),
                ("ann", "u1.mp4", 4, 0.5, 0.25),
            )
        ],
    }
    assert [(clip["video"], clip["utterance"]) for clip in failed] == [
        ("bob", "u5.mp4")
    ]
    assert "not a video" in failed[0]["reason"]
    validation = manifest["splits"]["validation"]
    assert (validation["expected"], validation["found"]) == (2, 0)
    assert [clip["utterance"] for clip in validation["failed"]] == [
        "u1.mp4",
        "u2.mp4",
    ]
    assert "No such file" in validation["failed"][0]["reason"]
    assert names(source.parent) == ["corpus", "records"]
    assert names(target) == ["manifest.json", "train", "validation"]
    assert names(target / "train") == ["ann", "bob"]
    assert names(target / "train" / "bob") == ["u3.mp4.tfrecord"]
    assert names(target / "validation") == []


def test_records_hold_the_clips(tf, preparing, manifests, source, fake):
    from affwild_omg.data import records

    (source / "omg_TestVideos_WithoutLabels.csv").write_text(
        "link,start,end,video,utterance\nx,0,1,ann,u1.mp4\n"
    )
    preparing.prepare(options_of(source))
    target = source.parent / "records"
    bob, ann = manifests.read(target).clips("train")
    assert [bob.key, ann.key] == ["bob/u3.mp4", "ann/u1.mp4"]
    clip = records.parse(bob.read(0, 6))
    np.testing.assert_array_equal(clip["time_us"], np.arange(6) * 100_000)
    np.testing.assert_array_equal(clip["mask"], [1, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(clip["labels"], [[-0.5, 0.75]] * 6)
    greys = [records.decode(x).numpy()[0, 0, 0] for x in clip["image"]]
    np.testing.assert_allclose(greys, [0, 0, 20, 30, 40, 50], atol=4)
    np.testing.assert_array_equal(
        clip["landmarks"][:, 0, 0], [0, 0, 2, 3, 4, 5]
    )
    (clip,) = manifests.read(target).clips("test")
    assert clip.labelled.tolist() == [0, 0] and np.isnan(clip.labels).all()
    assert np.isnan(records.parse(clip.read(0, 4))["labels"]).all()


def test_a_row_that_is_left_out_was_expected(
    preparing, manifests, source, fake
):
    write_table(
        source,
        [("bob", "u3.mp4", 0.75, -0.5), ("ann", "u1.mp4", 1.25, 0.5)],
    )
    options = PreparationOptions(
        corpus="omg", source=str(source), records=str(source.parent / "out")
    )
    manifest = preparing.prepare(options)
    train = manifest["splits"]["train"]
    assert (train["expected"], train["prepared"]) == (2, 1)
    (line,) = manifest["problems"]
    assert line.endswith(
        "line 3: arousal '1.25' must be a number in [0, 1]: the row is left out"
    )


def test_one_odd_clip_does_not_end_the_others(
    preparing, manifests, source, fake, monkeypatch
):
    find = preparing.worker.tracking.faces_of_video

    def odd(video, **settings):
        yield from find(video, **settings)
        if "bob" in video.path:
            raise ZeroDivisionError("never seen before")

    monkeypatch.setattr(preparing.worker.tracking, "faces_of_video", odd)
    manifest = preparing.prepare(options_of(source))
    train = manifest["splits"]["train"]
    assert [clip["video"] for clip in train["utterances"]] == ["ann"]
    reason = train["failed"][0]["reason"]
    assert "u3.mp4: cannot be prepared (ZeroDivisionError('never" in reason
    assert names(source.parent / "records" / "train") == ["ann"]


def test_a_sheet_that_cannot_be_drawn_costs_no_records(
    preparing, source, fake, monkeypatch, caplog
):
    write = preparing.worker.figures.FaceSheet.write

    def failing(sheet, path):
        write(sheet, path)
        if "bob" in str(path):
            raise ZeroDivisionError("never seen before")

    monkeypatch.setattr(preparing.worker.figures.FaceSheet, "write", failing)
    manifest = preparing.prepare(options_of(source, preview=True))
    bob, ann = manifest["splits"]["train"]["utterances"]
    assert (bob["frames"], ann["frames"]) == (6, 4)
    assert bob["no_preview"] == "ZeroDivisionError('never seen before')"
    assert "u3.mp4: no preview could be drawn (ZeroDivision" in caplog.text
    target = source.parent / "records"
    assert names(target / "train") == ["ann", "bob"]
    assert names(target / "previews" / "train") == ["ann"]


def test_a_clip_that_kills_its_process_does_not_end_the_others(
    preparing, source, fake, monkeypatch
):
    prepare = preparing.worker.prepare

    def dying(folder, options, clip):
        report = prepare(folder, options, clip)
        if clip.key == "bob/u3.mp4":
            raise concurrent.futures.process.BrokenProcessPool("it died")
        return report

    monkeypatch.setattr(preparing.worker, "prepare", dying)
    train = preparing.prepare(options_of(source))["splits"]["train"]
    assert [clip["video"] for clip in train["utterances"]] == ["ann"]
    bob, _ = train["failed"]
    assert bob["utterance"] == "u3.mp4"
    assert "bob/u3.mp4: its process died (Terminated) each" in bob["reason"]
    assert (train["expected"], train["found"]) == (3, 3)
    # Nor are the records kept that it wrote before.
    assert names(source.parent / "records" / "train") == ["ann"]


def test_a_failure_of_the_system_is_not_kept(
    preparing, source, fake, monkeypatch
):
    video = preparing.worker.Video

    def locked(path):
        if path.name == "u1.mp4":
            raise UserError(f"{path}: Permission denied")
        return video(path)

    monkeypatch.setattr(preparing.worker, "Video", locked)
    with monkeypatch.context() as patch:
        patch.setattr(preparing.staging, "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            preparing.prepare(options_of(source))
    monkeypatch.setattr(preparing.worker, "Video", video)
    train = preparing.prepare(options_of(source))["splits"]["train"]
    assert [clip["video"] for clip in train["utterances"]] == ["bob", "ann"]
    assert [path.rsplit("/", 2)[1] for path in fake] == ["bob", "ann"]


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_full_disk_while_publishing_loses_nothing(
    preparing, source, fake, monkeypatch
):
    write = preparing.staging.files.write_text

    def full(path, text):
        if path.name == "manifest.json":
            raise OSError(28, "No space left on device", str(path))
        write(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(preparing.staging.files, "write_text", full)
        with pytest.raises(OSError, match="No space left on device.*manifest"):
            preparing.prepare(options_of(source))
    fake.clear()
    # A report that was cut off counts as none.
    (report,) = source.parent.glob(
        ".records.partial/reports/train/bob/u3*.json"
    )
    report.write_text("")
    preparing.prepare(options_of(source))
    assert [path.rsplit("/", 2)[1] for path in fake] == ["bob"]


class Killer:
    """Stops this process' changes to the disk for good after some of them."""

    CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")

    def __init__(self):
        self.left = None  # changes that are still allowed; None for any number
        sys.addaudithook(self._audit)  # which cannot be removed

    def _audit(self, event, arguments):
        if self.left is None or not (
            event in self.CHANGES
            or (event == "open" and "w" in (arguments[1] or ""))
        ):
            return
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1


@pytest.fixture(scope="module")
def killer():
    return Killer()


def tree(folder):
    return {
        str(path.relative_to(folder)): path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("same_disk", [True, False])
def test_a_kill_at_any_step_of_publishing_loses_nothing(
    preparing, source, fake, monkeypatch, killer, old, same_disk
):
    target = source.parent / "records"
    staged = source.parent / ".records.partial"
    if old:  # with previews, and of a clip that the new ones lack
        write_table(
            source, [("ann", "u1.mp4", 0, 0)], "omg_TestVideos_WithLabels.csv"
        )
        preparing.prepare(options_of(source, preview=True))
        (source / "omg_TestVideos_WithLabels.csv").unlink()
    options = options_of(source)
    publish = preparing.staging.publish
    allowed = None

    def killed(*arguments):
        killer.left = allowed
        try:
            publish(*arguments)
        finally:
            killer.left = None

    monkeypatch.setattr(preparing.staging, "publish", killed)

    def other_disk(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if not same_disk:
        monkeypatch.setattr(os, "rename", other_disk)
    allowed = 0
    with pytest.raises(KeyboardInterrupt):
        preparing.prepare(options, overwrite=old)
    before = source.parent / "before"
    for folder in (target, staged):
        if folder.exists():
            shutil.copytree(folder, before / folder.name)
    fake.clear()
    allowed = None
    preparing.prepare(options, overwrite=old)
    whole = tree(target)
    assert fake == []

    finished = None
    for step in range(1000):
        for folder in (target, staged):
            shutil.rmtree(folder, ignore_errors=True)
            if (before / folder.name).exists():
                shutil.copytree(before / folder.name, folder)
        allowed = step
        try:
            preparing.prepare(options, overwrite=old)
            break
        except KeyboardInterrupt:
            allowed = None
        if tree(target) == whole:  # and only leftovers are to be removed
            finished = step
            continue
        preparing.prepare(options, overwrite=old)
        assert (tree(target), fake, finished) == (whole, [], None), step
        assert not staged.exists()
    assert 10 < finished < step


def test_damage_is_said(preparing, source, fake):
    path = source / "bob" / "u3.mp4"
    write_video(path, frames=60, codec="MJPG", path_of=path.with_suffix(".avi"))
    data = path.with_suffix(".avi").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    path.with_suffix(".avi").unlink()
    manifest = preparing.prepare(options_of(source))
    train = manifest["splits"]["train"]
    (damaged,) = train["damaged"]
    assert (damaged["video"], damaged["utterance"]) == ("bob", "u3.mp4")
    assert "damaged packet" in damaged["damaged"]
    assert 0 < train["utterances"][0]["frames"] < 60
    text = preparing.manifests.table(manifest)
    assert text[1].split()[:6] == ["train", "3", "3", "2", "1", "1"]
    assert "manifest.json says why 3 failed" in text[3]
    # One of an earlier version has no rate.
    del manifest["max_fps"]
    assert preparing.manifests.table(manifest) == text


def interrupt_after(preparing, monkeypatch, clips, error):
    """Lets a run stop after some clips; returns how to mend it."""
    prepare = preparing.worker.prepare
    left = iter(range(clips))

    def stopping(staging, options, clip):
        if next(left, None) is None:
            # What a killed worker leaves behind.
            path, *_ = preparing.staging.paths(staging, clip)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f"{path.name}.partial").write_text("half")
            raise error
        return prepare(staging, options, clip)

    patch = functools.partial(monkeypatch.setattr, preparing.worker, "prepare")
    patch(stopping)
    return lambda: patch(prepare)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(28, "No space left on device")]
)
def test_an_interrupted_run_goes_on(
    preparing, manifests, source, fake, monkeypatch, error
):
    options = options_of(source, workers=2)
    mend = interrupt_after(preparing, monkeypatch, clips=1, error=error)
    with pytest.raises(type(error)):
        preparing.prepare(options)
    assert names(source.parent) == [".records.partial", "corpus"]
    first = list(fake)
    assert [path.rsplit("/", 2)[1] for path in first] == ["bob"]

    mend()
    # A version that had no choice of these wrote nothing of them.
    settings = source.parent / ".records.partial" / "settings.json"
    content = json.loads(settings.read_text())
    for name in ("landmarks", "max_fps", "crop_format"):
        del content[name]
    settings.write_text(json.dumps(content))
    preparing.prepare(options)
    assert [path.rsplit("/", 2)[1] for path in fake[len(first) :]] == ["ann"]
    assert names(source.parent) == ["corpus", "records"]
    resumed = {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for path in (source.parent / "records" / "train").glob("*/*")
    }
    assert resumed.keys() == {"ann/u1.mp4.tfrecord", "bob/u3.mp4.tfrecord"}
    whole = source.parent / "whole"
    manifest = preparing.prepare(options_of(source, records=str(whole)))
    for name, content in resumed.items():
        assert (whole / "train" / name).read_bytes() == content
    assert manifests.read(source.parent / "records").content == manifest


@pytest.mark.parametrize(
    "change",
    [
        *("label", "file", "row"),
        *("detect_every", "crop_format", "max_fps", "landmarks"),
        *("preview", "corpus"),
    ],
)
def test_what_has_changed_is_prepared_again(
    preparing, source, fake, monkeypatch, caplog, change
):
    options = options_of(source)
    mend = interrupt_after(preparing, monkeypatch, 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        preparing.prepare(options)
    mend()
    fake.clear()
    rows = [("bob", "u3.mp4", 0.5, 0.5), ("ann", "u1.mp4", 0.25, 0.5)]
    if change == "label":
        write_table(source, [*rows, ("bob", "u5.mp4", 0.1, 0.1)])
    if change == "row":
        write_table(source, rows)
    if change == "file":
        write_video(source / "bob" / "u3.mp4", frames=7)
    if change == "detect_every":
        options = options_of(source, detect_every=5)
    if change == "crop_format":
        options = options_of(source, crop_format="jpeg")
    if change == "max_fps":
        options = options_of(source, max_fps=25.0)
    if change == "landmarks":
        options = options_of(source, landmarks="mediapipe")
    if change == "preview":
        options = options_of(source, preview=True)
    if change == "corpus":
        monkeypatch.setitem(readers.READERS, "other", omg.read)
        options = options_of(source, corpus="other")
    with caplog.at_level("INFO", logger="absl"):
        preparing.prepare(options)
    assert str(source / "bob" / "u3.mp4") in fake
    anew = change not in ("label", "file", "row")
    begun = "starting anew: " if anew else "going on with "
    assert caplog.messages[0].startswith(begun)


def test_overwriting_leaves_nothing_of_the_old(preparing, source, fake):
    preparing.prepare(options_of(source, preview=True))
    target = source.parent / "records"
    sheets = sorted(x for x in target.rglob("*.png"))
    assert [str(x.relative_to(target)) for x in sheets] == [
        "previews/train/ann/u1.mp4.png",
        "previews/train/bob/u3.mp4.png",
    ]
    assert all(cv2.imread(str(sheet)) is not None for sheet in sheets)
    (target / "notes.txt").write_text("mine")
    options = options_of(source)
    with pytest.raises(UserError, match="--records=.* is not empty"):
        preparing.prepare(options)
    (source / "omg_ValidationVideos.csv").unlink()
    write_table(source, [("ann", "u1.mp4", 0.25, 0.5)])
    preparing.prepare(options, overwrite=True)
    assert names(target) == ["manifest.json", "notes.txt", "train"]
    assert names(target / "train") == ["ann"]


@pytest.fixture
def damaged(preparing, source, fake):
    """Records of which bob's are damaged, and their tree when they were not."""
    preparing.prepare(options_of(source))
    target = source.parent / "records"
    whole = tree(target)
    path = target / "train" / "bob" / "u3.mp4.tfrecord"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    fake.clear()
    return target, whole


@pytest.fixture
def verify(tf):
    from affwild_omg.preparation import verification

    return lambda records: verification.verify(
        VerificationOptions(verify=True, records=str(records))
    )


def test_verification_names_what_is_damaged(damaged, verify, caplog):
    target, whole = damaged
    before = tree(target)
    with pytest.raises(UserError, match=r"of 2 clips, 1 damaged \(bob/u3.mp4"):
        verify(target)
    (line,) = caplog.messages
    assert line.startswith(f"bob/u3.mp4 of train: {target}/train/bob/u3.mp4.tf")
    assert "record 1 of 1 damaged" in line
    assert tree(target) == before
    for name, content in whole.items():
        if content:
            (target / name).write_bytes(content)
    assert verify(target) == f"all records of 2 clips in {target} are whole"


@pytest.mark.parametrize("how", ["flipped", "gone", "cut"])
def test_only_what_is_damaged_is_made_again(
    preparing, source, fake, damaged, verify, how
):
    target, whole = damaged
    path = target / "train" / "bob" / "u3.mp4.tfrecord"
    if how == "gone":
        shutil.rmtree(path.parent)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    old = (target / "train" / "ann" / "u1.mp4.tfrecord").stat()
    manifest = preparing.prepare(options_of(source))
    assert [path.rsplit("/", 2)[1] for path in fake] == ["bob"]
    assert tree(target) == whole  # the manifest, too
    assert manifest == json.loads(whole["manifest.json"])
    new = (target / "train" / "ann" / "u1.mp4.tfrecord").stat()
    assert (new.st_ino, new.st_mtime_ns) == (old.st_ino, old.st_mtime_ns)
    verify(target)
    with pytest.raises(UserError, match="is not empty"):
        preparing.prepare(options_of(source))


@pytest.mark.parametrize("change", ["film", "label", "row", "broken", "crops"])
def test_what_comes_out_as_another_is_not_mixed_in(
    preparing, source, fake, damaged, change
):
    target, _ = damaged
    options = options_of(source)
    before, reason = tree(target), "it comes out as another"
    if change == "film":
        write_video(source / "bob" / "u3.mp4", frames=7)
    if change == "label":
        write_table(source, [("bob", "u3.mp4", 0.75, 0.5)])
    if change == "row":
        write_table(source, [("ann", "u1.mp4", 0.25, 0.5)])
        reason = "not in it"
    if change == "broken":
        (source / "bob" / "u3.mp4").write_bytes(b"")
        reason = "not a video"
    if change == "crops":
        options = options_of(source, crop_format="jpeg")
    words = f"bob/u3.mp4 of train cannot be made .*{reason}"
    with pytest.raises(UserError, match=words):
        preparing.prepare(options)
    assert tree(target) == before


@pytest.fixture
def odd_source(source):
    """The corpus, with a row that is left out and people in a test split."""
    rows = [(f"v{i}", "u.mp4", 0.1 * i, 0.0) for i in range(5)]
    for video, *_ in rows:
        write_video(source / video / "u.mp4", frames=3)
    write_table(
        source, [*rows, ("w", "u", 7, 0)], "omg_TestVideos_WithLabels.csv"
    )
    return source


def videos(paths):
    return [path.rsplit("/", 2)[1] for path in paths]


@pytest.mark.parametrize(
    ("shards", "crop_format"), [(1, "png"), (3, "jpeg"), (12, "png")]
)
def test_shards_make_the_records_of_one_command(
    preparing, odd_source, fake, shards, crop_format
):
    local = options_of(odd_source, records=str(odd_source.parent / "local"))
    local = dataclasses.replace(
        local, preview=True, crop_format=crop_format, max_fps=4.0
    )
    manifest = preparing.prepare(local)
    assert manifest["crop_format"] == crop_format
    assert manifest.get("jpeg_quality") == {"jpeg": 95}.get(crop_format)
    assert len(manifest["splits"]["train"]["failed"]) == 1
    assert manifest["splits"]["test"]["expected"] == 6
    options = dataclasses.replace(
        local, records=str(odd_source.parent / "new" / "records")
    )
    fake.clear()
    for number in reversed(range(1, shards + 1)):
        shard = dataclasses.replace(options, shard=f"{number}/{shards}")
        line = preparing.prepare_shard(shard)
    assert line.endswith(
        f"once all {shards} shards are: python -m affwild_omg.prepare "
        f"--corpus=omg --source={odd_source} --records={options.records} "
        f"--max_fps=4.0 {'--crop_format=jpeg ' * (crop_format == 'jpeg')}"
        "--preview=true --merge=true"
    )
    assert sorted(videos(fake)) == sorted(
        ["ann", "bob", *(f"v{i}" for i in range(5))]
    )
    fake.clear()
    merge = dataclasses.replace(options, merge=True)
    assert preparing.prepare(merge) == manifest and not fake
    assert tree(odd_source.parent / "new" / "records") == tree(
        odd_source.parent / "local"
    )
    assert names(odd_source.parent / "new") == ["records"]


@pytest.fixture
def sharded(preparing, odd_source, fake):
    """Options of a preparation of which shards 1 and 3 of 3 are done."""
    options = options_of(odd_source)
    for shard in ("1/3", "3/3"):
        preparing.prepare_shard(dataclasses.replace(options, shard=shard))
    fake.clear()
    return options


def test_a_missing_shard_is_named_with_its_command(
    preparing, odd_source, sharded, fake
):
    merge = dataclasses.replace(sharded, merge=True)
    before = tree(odd_source.parent)
    with pytest.raises(UserError) as error:
        preparing.prepare(merge, overwrite=True)
    assert str(error.value) == (
        "--merge: of the shards, 2/3 must be prepared (it is not done); all "
        "others are kept: python -m affwild_omg.prepare --corpus=omg "
        f"--source={odd_source} --records={sharded.records} --shard=2/3 "
        "--overwrite"
    )
    assert tree(odd_source.parent) == before and not fake
    preparing.prepare_shard(dataclasses.replace(sharded, shard="2/3"))
    # Of ten rows, the second (not a video), the fifth (gone) and the eighth.
    assert videos(fake) == ["v2"]
    assert preparing.prepare(merge)["splits"]["test"]["prepared"] == 5


@pytest.mark.parametrize("change", ["film", "mended", "records"])
def test_what_has_changed_since_its_shard_is_named(
    preparing, odd_source, sharded, fake, change
):
    preparing.prepare_shard(dataclasses.replace(sharded, shard="2/3"))
    fake.clear()
    if change == "film":
        write_video(odd_source / "v2" / "u.mp4", frames=4)
        again, shard = "v2", "2/3"
    if change == "mended":  # which could not be prepared before
        write_video(odd_source / "bob" / "u5.mp4", frames=4)
        again, shard = "bob", "2/3"
    if change == "records":
        (path,) = odd_source.parent.glob(".records.partial/test/v1/*")
        path.unlink()
        again, shard = "v1", "1/3"
    merge = dataclasses.replace(sharded, merge=True)
    with pytest.raises(
        UserError,
        match=f"{shard} must .*/{again}/.* changed .*--shard={shard}$",
    ):
        preparing.prepare(merge)
    preparing.prepare_shard(dataclasses.replace(sharded, shard=shard))
    assert videos(fake) == [again]
    manifest = preparing.prepare(merge)
    assert manifest["splits"]["test"]["prepared"] == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shard": "2/4"}, "holds an unfinished preparation with shards=3;"),
        ({"shard": "2/3", "detect_every": 5}, "with detect_every=24;"),
        ({"merge": True, "crop_format": "jpeg"}, "with crop_format=png;"),
        ({"shard": "2/3", "max_fps": 25.0}, "with max_fps=None;"),
        ({"merge": True, "detect_every": 5}, "with detect_every=24;"),
        ({}, "with shards=3; give it the same"),
        ({"detect_every": 5}, "with detect_every=24, shards=3;"),
        ({"merge": True, "records": "new"}, "no shard was prepared for --rec"),
    ],
)
def test_a_slip_throws_no_shards_away(
    preparing, odd_source, sharded, fake, monkeypatch, changes, words
):
    monkeypatch.chdir(odd_source.parent)
    options = dataclasses.replace(sharded, **changes)
    call = preparing.prepare_shard if options.shard else preparing.prepare
    before = tree(odd_source.parent)
    with pytest.raises(UserError, match=words):
        call(options)
    assert not fake and tree(odd_source.parent) == before


@pytest.mark.parametrize("unknown", [True, False])
def test_shards_of_another_version_are_not_gone_on_with(
    preparing, odd_source, sharded, fake, monkeypatch, unknown
):
    if unknown:
        next(odd_source.parent.glob(".*/settings.json")).unlink()
    else:
        monkeypatch.setattr(preparing.staging, "PREPARATION", 2)
    words = "does not say with which" if unknown else "with preparation=1;"
    before = tree(odd_source.parent)
    with pytest.raises(UserError, match=f"an unfinished preparation.* {words}"):
        preparing.prepare_shard(dataclasses.replace(sharded, shard="2/3"))
    assert not fake and tree(odd_source.parent) == before


def test_shards_go_on_with_what_one_command_began(
    preparing, odd_source, fake, monkeypatch
):
    options = options_of(odd_source)
    mend = interrupt_after(preparing, monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        preparing.prepare(options)
    mend()
    for shard in ("1/2", "2/2"):
        preparing.prepare_shard(dataclasses.replace(options, shard=shard))
    preparing.prepare(dataclasses.replace(options, merge=True))
    assert len(fake) == len(set(fake)) == 7


def test_a_merge_that_was_interrupted_goes_on(
    preparing, odd_source, sharded, fake, monkeypatch
):
    preparing.prepare_shard(dataclasses.replace(sharded, shard="2/3"))
    fake.clear()
    merge = dataclasses.replace(sharded, merge=True)
    with monkeypatch.context() as patch:
        # When all is moved but the manifest.
        patch.setattr(preparing.staging.files, "sync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            preparing.prepare(merge)
    with pytest.raises(UserError, match="was interrupted; give that one"):
        preparing.prepare_shard(dataclasses.replace(sharded, shard="2/3"))
    train = preparing.prepare(merge)["splits"]["train"]
    assert (train["prepared"], len(train["failed"]), fake) == (2, 1, [])
    assert names(odd_source.parent) == ["corpus", "records"]


@pytest.mark.parametrize(
    ("held", "changes", "words"),
    [
        ((), {}, "another command is preparing it;"),
        ((), {"shard": "1/3"}, "preparing its shard 1/3, or all of it; wait"),
        ((1,), {"shard": "1/3"}, "preparing its shard 1/3, or all of it; wait"),
        ((3,), {"merge": True}, "another command is preparing it;"),
        ((1,), {}, "another command is preparing it;"),
    ],
)
def test_two_preparations_of_the_same_are_kept_apart(
    preparing, source, fake, lock_holder, held, changes, words
):
    path = preparing.staging.lock(source.parent / "records")
    options = options_of(source, **changes)
    call = preparing.prepare_shard if options.shard else preparing.prepare
    process = lock_holder(path, *held)
    with pytest.raises(UserError, match=words):
        call(options)
    assert not fake
    process.kill()
    process.wait()
    if not options.merge:
        call(options)
        assert fake


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "a/b", "1/2/3"])
def test_a_shard_is_one_of_so_many(source, shard):
    with pytest.raises(UserError, match="--shard must be like 2/8"):
        options_of(source, shard=shard)
    with pytest.raises(UserError, match="--shard does not go with --merge"):
        options_of(source, shard="1/3", merge=True)


def test_a_rate_without_an_end_is_refused(source):
    with pytest.raises(UserError, match="--max_fps=inf keeps all frames, as"):
        options_of(source, max_fps=float("inf"))


def test_a_source_that_vanishes_ends_it_and_costs_nothing(
    preparing, source, fake, monkeypatch
):
    prepare = preparing.worker.prepare

    def vanishing(folder, options, clip):
        report = prepare(folder, options, clip)
        if source.exists():
            source.rename(source.with_name("elsewhere"))
        return report

    monkeypatch.setattr(preparing.worker, "prepare", vanishing)
    with pytest.raises(UserError, match="was there and is gone; once --source"):
        preparing.prepare(options_of(source))
    first = videos(fake)
    assert names(source.parent) == [".records.partial", "elsewhere"]
    source.with_name("elsewhere").rename(source)
    monkeypatch.setattr(preparing.worker, "prepare", prepare)
    train = preparing.prepare(options_of(source))["splits"]["train"]
    assert train["prepared"] == 2
    assert sorted(videos(fake)) == ["ann", "bob"] and len(first) == 1


@pytest.mark.parametrize("kind", ["film", "pictures"])
def test_what_vanishes_while_it_is_read_is_not_cut_off(
    preparing, source, fake, monkeypatch, kind
):
    settings = {}
    if kind == "pictures":
        write_crops(source / "pictures", [1, 2, 3, 4])
        (source / "train.csv").write_text(
            "".join(f"pictures/0000{i}.jpg,0,0\n" for i in range(1, 5))
        )
        settings = {"corpus": "framelist"}
    find = preparing.worker.tracking.faces_of_video

    def vanishing(video, **settings):
        faces = find(video, **settings)
        yield next(faces)
        source.rename(source.with_name("elsewhere"))
        if kind == "pictures":
            yield from faces
        else:  # as one whose reads fail
            video.damaged_packets += 1

    options = options_of(source, **settings)
    with monkeypatch.context() as patch:
        patch.setattr(preparing.worker.tracking, "faces_of_video", vanishing)
        with pytest.raises(UserError, match="once --source is"):
            preparing.prepare(options)
    source.with_name("elsewhere").rename(source)
    train = preparing.prepare(options)["splits"]["train"]
    assert train["frames"] == {"film": 10, "pictures": 4}[kind]
    assert train["damaged"] == []


def test_a_whole_bucket_is_refused(preparing, source):
    with pytest.raises(UserError, match="--records=s3://lab is a whole bucket"):
        preparing.prepare(options_of(source, records="s3://lab"))


def test_a_cluster_needs_ray(preparing, source, fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="needs Ray, .*affwild_omg.cluster"):
        preparing.prepare(options_of(source, engine="ray"))
    assert names(source.parent) == ["corpus"]
    with pytest.raises(UserError, match="--workers=2 changes nothing with"):
        options_of(source, engine="ray", workers=2)
    with pytest.raises(UserError, match="--ray_address=a:1 changes nothing"):
        options_of(source, ray_address="a:1")


def test_nothing_is_left_when_nothing_can_be_prepared(preparing, source, fake):
    for video in ("ann/u1.mp4", "bob/u3.mp4"):
        (source / video).write_text("this is no video either")
    with pytest.raises(UserError, match="not one clip .* not a video"):
        preparing.prepare(options_of(source))
    assert names(source.parent) == ["corpus"]


def test_other_nodes_do_not_mend_what_lies_elsewhere(
    preparing, source, fake, monkeypatch
):
    """They see no folder of this machine."""
    given = []
    monkeypatch.setattr(
        preparing, "_prepare", lambda *x: given.append(x[2]) or {}
    )
    options = options_of(source, engine="ray", ray_address="a:1")
    target = preparing.remote.path("s3://lab/records")
    with pytest.raises(UserError, match="ann/u1.mp4 of train cannot be made"):
        preparing._mend({("train", "ann/u1.mp4"): None}, target, options)
    assert [(x.engine, x.ray_address) for x in given] == [("processes", "auto")]


def test_flags_that_change_nothing_are_refused(preparing, source, fake):
    with pytest.raises(UserError, match="--fps=10 changes nothing, .* films"):
        preparing.prepare(options_of(source, fps=10.0))
    assert names(source.parent) == ["corpus"]
    with pytest.raises(UserError, match="--detect_every=5 changes nothing .*s"):
        options_of(source, frames="crops", detect_every=5)


def test_a_source_without_clips_says_where_they_belong(preparing, source, fake):
    for video in ("ann/u1.mp4", "bob/u3.mp4", "bob/u5.mp4"):
        (source / video).unlink()
    with pytest.raises(UserError, match="none of the tables' 5 clips is there"):
        preparing.prepare(options_of(source))
    assert names(source.parent) == ["corpus"]


def test_a_list_without_pictures_names_the_first(preparing, tmp_path):
    (tmp_path / "train.csv").write_text("a/1.jpg,0,0\na/2.jpg,0,0\n")
    options = options_of(tmp_path, corpus="framelist")
    with pytest.raises(UserError, match="is there, such as .*/a/1.jpg; docs/"):
        preparing.prepare(options)


def test_each_corpus_has_its_reader(preparing, source, fake, monkeypatch):
    read = []

    def reader(folder, problems, frames):
        read.append(folder)
        clip = omg.read(folder, problems, frames)[0]
        return [dataclasses.replace(clip, source=None, person="Bob")]

    monkeypatch.setitem(readers.READERS, "other", reader)
    manifest = preparing.prepare(options_of(source, corpus="other"))
    assert read == [str(source)]
    assert manifest["corpus"] == "other"
    train = manifest["splits"]["train"]
    assert train["expected"] == 1
    assert train["utterances"][0]["person"] == "Bob"
    assert "source" not in train["utterances"][0]


@pytest.mark.parametrize("drawn", [True, False])
def test_the_manifest_tells_the_demo_by_its_description(
    preparing, source, fake, drawn
):
    if drawn:
        (source / "demo.json").write_text("{}")
    manifest = preparing.prepare(options_of(source))
    assert manifest["corpus"] == ("demo" if drawn else "omg")


def write_annotation(source, name, rows, folder="Train_Set"):
    path = source / folder / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{v},{a}\n" for v, a in rows)
    path.write_text(f"valence,arousal\n{lines}")


@pytest.fixture
def by_frame(tmp_path):
    """Films of Aff-Wild2 whose labels are their frames' numbers."""
    source = tmp_path / "affwild2"
    for name, frames, rows in (("a", 25, 25), ("b", 6, 8), ("c", 6, 5)):
        path = source / "batch1" / f"{name}.avi"
        write_video(path, frames, "MJPG")
        ramp = [(i / 100, -i / 100) for i in range(rows)]
        write_annotation(source, name, ramp)
    return source


def labels_of(manifests, records, target):
    return {
        clip.utterance: records.parse(clip.read(0, clip.frames))
        for split in manifests.read(target).splits.values()
        for clip in split
    }


def test_labels_stay_with_their_frames(
    tf, preparing, manifests, by_frame, fake
):
    from affwild_omg.data import records

    # The 12th frame is lost, and the grey of the others is their number.
    path = by_frame / "batch1" / "a.avi"
    data = bytearray(path.read_bytes())
    start = -1
    for _ in range(12):
        start = data.index(b"\xff\xd8\xff", start + 1)
    end = data.index(b"\xff\xd9", start)
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    (by_frame / "batch1" / "empty.mp4").touch()
    write_annotation(by_frame, "empty", [(0, 0)])
    write_annotation(by_frame, "gone", [(0, 0)])
    write_annotation(by_frame, "odd", [(0, 2)])

    options = options_of(by_frame, corpus="affwild2")
    manifest = preparing.prepare(options)
    found = labels_of(manifests, records, options.records)
    assert found.keys() == {"a", "b", "c"}
    clip = found["a"]
    greys = [records.decode(x).numpy()[0, 0, 0] for x in clip["image"][2:24]]
    np.testing.assert_allclose(
        clip["labels"][2:24, 0], np.array(greys) / 1000, atol=0.004
    )
    numbers = [i for i in range(25) if i != 11]
    np.testing.assert_allclose(
        clip["labels"][:24],
        [[i / 100, -i / 100] for i in numbers],
        atol=1e-6,
    )
    labels = np.isfinite(found["c"]["labels"])[:6]
    np.testing.assert_array_equal(labels, [[True] * 2] * 5 + [[False] * 2])

    batch = by_frame / "batch1"
    beyond = "; label i is that of frame i, and what is beyond has none"
    assert manifest["problems"] == [
        f"{by_frame}/Train_Set/odd.txt, line 2: valence and arousal must lie "
        "in [-1, 1], not '0,2' (-5 for none); its frame counts as not "
        "annotated",
        f"{batch}/b.avi: 6 frames, but 8 rows of labels{beyond}",
        f"{batch}/c.avi: 6 frames, but 5 rows of labels{beyond}",
    ]
    train = manifest["splits"]["train"]
    assert [clip["utterance"] for clip in train["failed"]] == [
        *("empty", "gone", "odd")
    ]
    assert (train["expected"], train["found"], train["prepared"]) == (6, 4, 3)
    assert train["damaged"][0]["damaged"] == "1 damaged packet"
    assert train["utterances"][0]["labels"]["valence"]["frames"] == 24
    assert not any("problems" in clip for clip in train["utterances"])
    lines = preparing.manifests.table(manifest)
    assert "manifest.json lists 3 problems of the corpus" in lines


def test_frames_that_are_left_out_take_their_labels_along(
    tf, preparing, manifests, by_frame, fake
):
    from affwild_omg.data import records

    # Ten frames a second, in quarters: 0, 0.4, 0.8, 1.2, ..., of which the
    # first of each is kept.
    kept = [0, 2, 4, 7, 9, 12, 14, 17, 19, 22, 24]
    whole = options_of(by_frame, corpus="affwild2")
    preparing.prepare(whole)
    thinned = dataclasses.replace(
        whole, records=str(by_frame.parent / "thinned"), max_fps=4.0
    )
    manifest = preparing.prepare(thinned)
    assert manifests.read(thinned.records).treatment.max_fps == 4
    assert manifests.read(whole.records).treatment.max_fps is None
    films, fewer = (
        labels_of(manifests, records, x.records) for x in (whole, thinned)
    )
    for name, frames in (("a", kept), ("b", kept[:3]), ("c", kept[:3])):
        for what, values in fewer[name].items():
            np.testing.assert_array_equal(
                values[: len(frames)], films[name][what].numpy()[frames]
            )
        np.testing.assert_allclose(
            fewer[name]["time_us"][: len(frames)], np.array(frames) * 100_000
        )
    np.testing.assert_allclose(
        fewer["a"]["labels"][:11, 0], np.array(kept) / 100, atol=1e-6
    )
    train = manifest["splits"]["train"]
    assert (train["frames"], train["frames_left_out"]) == (17, 20)
    # The second, the one without a face, is not among them.
    assert train["frames_without_face"] == 0
    clip = train["utterances"][0]
    assert (clip["frames"], clip["frames_left_out"]) == (11, 14)
    assert clip["labels"]["valence"]["mean"] == pytest.approx(
        np.mean(kept) / 100
    )
    # Rows are held against the films, which have all of their frames.
    assert len(manifest["problems"]) == 2
    assert "--max_fps=4 left out 20 of 37 frames, in 3 of 3 clips" in (
        preparing.manifests.table(manifest)
    )


@pytest.mark.parametrize("what", ["rows", "film", "label"])
def test_strict_ends_with_the_first_problem(preparing, by_frame, fake, what):
    for name in "bc" if what != "rows" else "c":
        (by_frame / "Train_Set" / f"{name}.txt").unlink()
    if what == "film":
        write_annotation(by_frame, "b", [(0, 0)] * 6)
        (by_frame / "batch1" / "b.avi").write_bytes(b"")
    if what == "label":
        write_annotation(by_frame, "a", [(7, 0)] * 25)
    options = options_of(by_frame, corpus="affwild2", strict=True)
    words = {
        "rows": "b.avi: 6 frames, but 8 rows",
        "film": "b.avi: not a video",
        "label": "a.txt, line 2: valence and arousal must lie",
    }
    with pytest.raises(UserError, match=words[what]):
        preparing.prepare(options)
    assert not (by_frame.parent / "records").exists()


def test_problems_are_told_again_when_a_run_goes_on(
    preparing, by_frame, fake, monkeypatch, caplog
):
    options = options_of(by_frame, corpus="affwild2", workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(preparing.staging, "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            preparing.prepare(options)
    fake.clear()
    caplog.clear()
    manifest = preparing.prepare(options)
    assert fake == [] and len(manifest["problems"]) == 2
    assert "b.avi: 6 frames, but 8 rows of labels" in caplog.text
    # Labels that changed count as another clip.
    with monkeypatch.context() as patch:
        patch.setattr(preparing.staging, "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            preparing.prepare(options, overwrite=True)
    write_annotation(by_frame, "b", [(0, 0)] * 6)
    fake.clear()
    preparing.prepare(options, overwrite=True)
    assert [os.path.basename(path) for path in fake] == ["b.avi"]


def test_the_side_is_handed_on(preparing, by_frame, fake, monkeypatch):
    find = preparing.worker.tracking.faces_of_video
    sides = []

    def faces_of_video(video, side=None, **settings):
        sides.append(side)
        return find(video, **settings)

    monkeypatch.setattr(
        preparing.worker.tracking, "faces_of_video", faces_of_video
    )
    write_annotation(by_frame, "a_right", [(0, 0)] * 25)
    preparing.prepare(options_of(by_frame, corpus="affwild2", preview=True))
    # Films a, b and c; of the two people of a, one has no ending.
    assert sorted(map(str, sides)) == ["None", "None", "left", "right"]


def write_crops(folder, numbers):
    folder.mkdir(parents=True)
    for number in numbers:
        grey = np.full((112, 112, 3), 10 * number, np.uint8)
        cv2.imwrite(str(folder / f"{number:05}.jpg"), grey)


@pytest.fixture
def fake_crops(preparing, monkeypatch):
    """Makes every crop a face of its own grey, but the third none."""
    from affwild_omg.faces import tracking, views

    def face_in_crop(crop, landmarker):
        assert landmarker == "landmarker"
        if abs(crop.mean() - 30) < 2:
            return None
        face = views.Face.missing()
        image = np.full((96, 96, 3), crop.mean().round(), np.uint8)
        return dataclasses.replace(face, found=True, reason="", crop=image)

    monkeypatch.setattr(tracking, "face_in_crop", face_in_crop)
    monkeypatch.setattr(
        preparing.worker, "_tracking", {"landmarker": "landmarker"}
    )


def test_crops_need_no_video(
    tf, preparing, manifests, fake, fake_crops, tmp_path
):
    from affwild_omg.data import records

    source = tmp_path / "crops"
    write_crops(source / "cropped_aligned" / "a_left", [2, 3, 5, 6])
    (source / "cropped_aligned" / "a_left" / "00006.jpg").write_bytes(b"")
    ramp = [(i / 100, -i / 100) for i in range(8)]
    write_annotation(source, "a_left", ramp)
    write_crops(source / "cropped_aligned" / "b", [1, 3])
    write_annotation(source, "b", ramp[:2])
    write_annotation(source, "c", ramp)
    options = options_of(
        source, corpus="affwild2", frames="crops", fps=10.0, preview=True
    )
    manifest = preparing.prepare(options)
    found = labels_of(manifests, records, options.records)
    clip = {name: value[:8] for name, value in found["a_left"].items()}
    np.testing.assert_allclose(clip["labels"], ramp, atol=1e-6)
    np.testing.assert_array_equal(clip["mask"], [0, 1, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(clip["time_us"], np.arange(8) * 100_000)
    greys = [records.decode(x).numpy()[0, 0, 0] for x in clip["image"]]
    np.testing.assert_allclose(greys, [0, 20, 0, 0, 50, 0, 0, 0], atol=1)
    left, right = manifest["splits"]["train"]["utterances"]
    assert (left["source"], left["frames"], right["frames"]) == ("a", 8, 3)
    assert left["without_face"] == {
        "no picture": 5,
        "implausible landmarks": 1,
    }
    aligned = source / "cropped_aligned"
    assert manifest["problems"] == [
        f"{aligned}/a_left/00006.jpg: not a picture; its frame counts as "
        "without a face",
        f"{aligned}/b: 3 frames, but 2 rows of labels; label i is that of "
        "frame i, and what is beyond has none",
    ]
    damaged, failed = (
        manifest["splits"]["train"][x] for x in ("damaged", "failed")
    )
    assert damaged[0]["damaged"] == "1 unreadable picture"
    assert "c: not one picture of the clip is there" in failed[0]["reason"]


def test_crops_are_brought_to_a_rate(
    tf, preparing, manifests, fake, fake_crops, tmp_path
):
    from affwild_omg.data import records

    source = tmp_path / "crops"
    write_crops(source / "cropped_aligned" / "a", [1, 2, 5, 6])
    write_annotation(source, "a", [(i / 100, 0) for i in range(8)])
    options = options_of(
        source, corpus="affwild2", frames="crops", fps=10.0, max_fps=5.0
    )
    preparing.prepare(options)
    found = labels_of(manifests, records, options.records)["a"]
    # Every second row, with a picture or without.
    np.testing.assert_allclose(
        found["labels"][:4, 0], [0, 0.02, 0.04, 0.06], atol=1e-6
    )
    np.testing.assert_array_equal(found["mask"][:4], [1, 0, 1, 0])
    np.testing.assert_array_equal(found["time_us"][:4], np.arange(4) * 200_000)


def test_whole_pictures_are_searched_for_faces(
    tf, preparing, manifests, fake, tmp_path
):
    from affwild_omg.data import records

    source = tmp_path / "list"
    write_crops(source / "pictures", [1, 2, 3, 4])
    (source / "pictures" / "00002.jpg").unlink()
    (source / "train.csv").write_text(
        "".join(f"pictures/0000{i}.jpg,0.{i},0\n" for i in range(1, 5))
    )
    options = options_of(source, corpus="framelist")
    manifest = preparing.prepare(options)
    (clip,) = labels_of(manifests, records, options.records).values()
    # The second that can be read has no face, see `fake`.
    np.testing.assert_array_equal(clip["mask"][:4], [1, 0, 0, 1])
    np.testing.assert_allclose(
        clip["labels"][:4, 0], [0.1, 0.2, 0.3, 0.4], atol=1e-6
    )
    np.testing.assert_array_equal(clip["time_us"][:4], np.arange(4) * 40_000)
    (line,) = manifest["problems"]
    assert line.startswith(f"{source}/pictures/00002.jpg: not a picture;")
