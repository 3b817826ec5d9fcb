import errno
import fcntl
import os
import pathlib

import pytest

from affwild_omg.storage import locks


def is_free(path, *part):
    try:
        with locks.hold(path, *part):
            assert path.exists()
            return True
    except locks.Busy:
        return False


def test_parts_exclude_themselves_and_the_whole(tmp_path, lock_holder):
    path = tmp_path / "lock"
    first, second = lock_holder(path, 1), lock_holder(path, 3)
    free = [is_free(path, *part) for part in ((), (0,), (1,), (2,), (3,))]
    assert free == [False, True, False, True, False]
    first.communicate()  # which ends it in order
    assert path.exists() and is_free(path, 1) and not is_free(path)
    second.communicate()
    assert not path.exists() and is_free(path) and not path.exists()


def test_a_part_waits_for_who_removes_another(tmp_path, monkeypatch):
    """Whose end takes all of it for a moment."""
    tries, lock = [], fcntl.lockf

    def at_first(*arguments):
        tries.append(arguments)
        if len(tries) < 3:
            raise BlockingIOError
        return lock(*arguments)

    monkeypatch.setattr(fcntl, "lockf", at_first)
    assert is_free(tmp_path / "lock", 2) and len(tries) > 3
    tries.clear()
    assert not is_free(tmp_path / "lock") and len(tries) == 1


def test_the_whole_excludes_every_part_until_its_process_dies(
    tmp_path, lock_holder
):
    path = tmp_path / "lock"
    process = lock_holder(path)
    assert not is_free(path) and not is_free(path, 7)
    process.kill()
    process.wait()
    assert path.exists() and is_free(path) and not path.exists()


def test_a_file_that_is_removed_meanwhile_is_no_lock(
    tmp_path, monkeypatch, lock_holder
):
    path, lock = tmp_path / "lock", fcntl.lockf
    left = [path]

    def late(*arguments):
        if left:
            left.pop().unlink()
        return lock(*arguments)

    monkeypatch.setattr(fcntl, "lockf", late)
    with locks.hold(path):
        assert path.exists()
        with pytest.raises(AssertionError):
            lock_holder(path)
    assert not path.exists()


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, caplog):
    def missing(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", missing)
    with locks.hold(tmp_path / "lock"):
        assert "cannot be locked (No locks available): nothing" in caplog.text
    assert list(pathlib.Path(tmp_path).iterdir()) == []


def test_an_error_of_the_block_is_no_fault_of_the_lock(tmp_path):
    with pytest.raises(OSError, match="full"), locks.hold(tmp_path / "lock"):
        raise OSError(28, "full")
    assert list(tmp_path.iterdir()) == []
