import errno
import functools
import os
import pathlib

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.storage import files as outputs


def whole(directory, **changes):
    settings = {"flag": "--output", "overwrite": False} | changes
    return outputs.atomic_directory(directory, **settings)


def names(directory):
    return sorted(path.name for path in pathlib.Path(directory).iterdir())


def test_contents_appear_at_the_end_only(tmp_path):
    target = tmp_path / "a" / "b"
    with whole(target) as directory:
        (directory / "file").write_text("text")
        (directory / "folder").mkdir()
        (directory / "folder" / "inner").write_text("inner")
        assert names(target) == [directory.name]
        assert directory.name.startswith(".partial-")
    assert names(target) == ["file", "folder"]
    assert (target / "folder" / "inner").read_text() == "inner"
    assert names(tmp_path / "a") == ["b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path, error):
    with pytest.raises(error), whole(tmp_path / "a" / "b") as directory:
        (directory / "file").write_text("half")
        raise error
    assert names(tmp_path) == []


def test_an_error_leaves_earlier_results_alone(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "file").write_text("old")
    with (
        pytest.raises(ValueError, match="stop"),
        whole(target, overwrite=True, owned=["file"]) as directory,
    ):
        (directory / "file").write_text("new")
        raise ValueError("stop")
    assert names(tmp_path) == ["out"]
    assert (target / "file").read_text() == "old"


def test_overwriting_replaces_its_own_and_keeps_the_rest(tmp_path):
    target = tmp_path / "out"
    (target / "folder").mkdir(parents=True)
    (target / "folder" / "old").write_text("old")
    (target / "picture").write_text("of the old")
    (target / "notes").write_text("mine")
    with whole(
        target, overwrite=True, owned=("folder", "picture", "never")
    ) as directory:
        (directory / "folder").mkdir()
        (directory / "folder" / "new").write_text("new")
    assert names(target) == ["folder", "notes"]
    assert names(target / "folder") == ["new"]


def test_old_and_new_are_not_taken_for_one_another(tmp_path, monkeypatch):
    """What tells that all is there goes first, and comes last."""
    target, replaced = tmp_path / "out", []

    def write(names):
        with whole(target, overwrite=True, last=("b", "a")) as directory:
            for name in names:
                (directory / name).write_text("text")

    def interrupted(source, place):
        if len(replaced) == 2:
            raise KeyboardInterrupt
        replaced.append(place.name)
        os.replace(source, place)

    write("abcd")
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write("abcd")
    assert replaced == ["c", "d"]
    assert names(target) == ["c", "d"]
    write("a")
    assert names(target) == ["a", "c", "d"]


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "file").write_text("mine")
    message = r"^--output=.* is not empty; .*--overwrite"
    with pytest.raises(UserError, match=message), whole(tmp_path):
        pass
    message = r"^--records=.* is a file; name a folder$"
    with (
        pytest.raises(UserError, match=message),
        whole(tmp_path / "file", flag="--records", overwrite=True),
    ):
        pass
    assert names(tmp_path) == ["file"]


def test_a_folder_without_permission_is_named_at_once(tmp_path, monkeypatch):
    # By a stand-in, as the superuser may write anywhere.
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != tmp_path and mode != 0
    )
    with pytest.raises(UserError, match="not writable for this user"):
        outputs.check_output(tmp_path, flag="--output", overwrite=True)


def test_what_a_killed_run_left_does_not_count(tmp_path):
    (tmp_path / ".partial-killed").mkdir()
    with whole(tmp_path) as directory:
        (directory / "file").write_text("text")
    assert (tmp_path / "file").read_text() == "text"


def test_results_go_behind_a_symbolic_link(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "link").symlink_to(disk)
    with whole(tmp_path / "link") as directory:
        # In one file system with the results, so that moving is renaming.
        assert directory.resolve().parent == disk
        (directory / "file").write_text("text")
    assert (tmp_path / "link").is_symlink()
    assert names(disk) == ["file"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_moving_to_another_file_system(tmp_path, monkeypatch, kind):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old").write_text("old")
    source = tmp_path / "source"
    if kind == "folder":
        source.mkdir()
        (source / "new").write_text("new")
    else:
        source.write_text("new")
    rename = os.rename

    def within_one(one, other):
        if pathlib.Path(one) == source:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(one, other)

    monkeypatch.setattr(os, "rename", within_one)
    outputs.replace(source, tmp_path / "target")
    assert names(tmp_path) == ["target"]
    found = tmp_path / "target"
    if kind == "folder":
        assert names(found) == ["new"]
        found = found / "new"
    assert found.read_text() == "new"


class Disk:
    """What would be there after a cut of power, of files that were renamed."""

    def __init__(self, monkeypatch):
        self.synced, self.renamed = {}, []
        fsync, replace, rename = os.fsync, os.replace, os.rename

        def synced(descriptor):
            fsync(descriptor)
            state = os.fstat(descriptor)
            self.synced[state.st_ino] = state.st_size

        def renaming(name):
            def changed(source, target):
                self.renamed.append((source, target))
                if name is replace and os.path.isfile(source):
                    state = os.stat(source)
                    assert self.synced[state.st_ino] == state.st_size
                name(source, target)

            return changed

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "replace", renaming(replace))
        monkeypatch.setattr(os, "rename", renaming(rename))


def test_contents_are_on_the_disk_before_their_names(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    outputs.write_text(tmp_path / "file", "text")
    assert disk.synced.pop((tmp_path / "file").stat().st_ino) == 4
    assert tmp_path.stat().st_ino in disk.synced  # and the name itself
    with whole(tmp_path / "out") as directory:
        (directory / "inner").mkdir()
        (directory / "inner" / "file").write_text("inner")
        (directory / "file").write_text("text")
    assert len(disk.renamed) == 5
    for name, size in (("file", 4), ("inner/file", 5)):
        path = tmp_path / "out" / name
        assert disk.synced[path.stat().st_ino] == size
    for folder in (tmp_path / "out", tmp_path / "out" / "inner"):
        assert folder.stat().st_ino in disk.synced


def test_two_writers_of_a_file_do_not_meet(tmp_path):
    path = tmp_path / "file"
    whole = functools.partial(outputs.whole, path, contended=True)
    with whole() as first, whole() as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # whose block ends last
    assert names(tmp_path) == ["file"]


def test_json_is_written_whole_and_for_people(tmp_path):
    for value in ("earlier", {"a": [1.5], "b": None}):
        outputs.write_json(tmp_path / "file", value)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == (
        '{\n  "a": [\n    1.5\n  ],\n  "b": null\n}\n'
    )


def test_a_text_that_cannot_be_finished_leaves_the_earlier(
    tmp_path, monkeypatch
):
    outputs.write_text(tmp_path / "file", "earlier")

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        outputs.write_text(tmp_path / "file", "later")
    assert (tmp_path / "file").read_text() == "earlier"


def test_a_digest_is_of_all_that_files_hold(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"a")
    second.write_bytes(b"bc")
    # The examples of FIPS 180-2 (B.1), and of nothing at all.
    assert outputs.digest(first, second) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert outputs.digest() == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
