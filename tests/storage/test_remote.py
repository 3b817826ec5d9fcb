"""Other file systems: S3, by a server on this machine."""

import errno
import os
import pathlib
import pickle
import socket
import subprocess
import sys

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.storage import files, locks, remote


def test_paths_are_local_or_elsewhere():
    assert remote.path("records/a") == pathlib.Path("records/a")
    assert remote.path(pathlib.Path("/a")) == pathlib.Path("/a")
    path = remote.path("s3://bucket/a/b.txt")
    assert remote.path(path) == path
    assert str(path) == os.fspath(path) == "s3://bucket/a/b.txt"
    assert str(path.parent / "c" / "d") == "s3://bucket/a/c/d"
    assert str(path.with_name("e")) == "s3://bucket/a/e"
    assert str(path.parent.parent) == "s3://bucket"
    assert (path.name, path.stem, path.suffix) == ("b.txt", "b", ".txt")
    assert str(path.relative_to(path.parent.parent)) == "a/b.txt"
    assert pickle.loads(pickle.dumps(path)) == path
    assert len({path, remote.path("s3://bucket/a/b.txt")}) == 1
    assert not isinstance(path, pathlib.Path)


def test_files_are_what_was_written(bucket):
    folder = bucket / "folder"
    assert not folder.exists() and files.is_empty(folder)
    files.write_text(folder / "a" / "text", "hälla\r\nö\n")
    with files.whole(folder / "block") as unfinished:
        assert unfinished.name == "block"
        # As much as one read of TensorFlow's, to the byte.
        unfinished.write_bytes(bytes(2**19))
    with files.whole(folder / "empty") as unfinished:
        unfinished.touch()
    assert not files.is_empty(folder)
    assert folder.is_dir() and not folder.is_file()
    assert (folder / "empty").is_file() and not (folder / "empty").is_dir()
    assert not (folder / "emp").exists()  # by which another name begins
    assert (folder / "a" / "text").read_bytes() == "hälla\r\nö\n".encode()
    assert (folder / "a" / "text").read_text() == "hälla\nö\n"
    with (folder / "a" / "text").open(newline="") as file:
        assert file.readline() == "hälla\r\n"
    assert (folder / "block").read_bytes() == bytes(2**19)
    assert (folder / "empty").read_bytes() == b""
    assert (folder / "block").stat().st_size == 2**19
    with (folder / "a" / "text").open("rb") as file:
        file.seek(8)
        assert file.read(2) == "ö".encode()
        assert file.seek(-1, os.SEEK_END) == 10
        assert file.read() == b"\n"
        assert file.seek(100) == 100 and file.read(10) == b""
        with pytest.raises(OSError, match="Invalid argument"):
            file.seek(-100, os.SEEK_END)
        assert file.seek(0) == 0 and file.read() == "hälla\r\nö\n".encode()
    names = [str(x.relative_to(folder)) for x in files.within(folder)]
    assert names == ["a/text", "block", "empty"]
    assert sorted(folder.iterdir()) == [
        *map(folder.joinpath, "a block empty".split())
    ]
    assert [*folder.glob("*/te*")] == [folder / "a" / "text"]
    assert files.digest(folder / "empty", folder / "block") == (
        # sha256sum of that many zeros
        "07854d2fef297a06ba81685e660c332de36d5d18d546927d30daad6d7fda1541"
    )


def test_moving_takes_no_name_that_begins_alike(bucket):
    for name in ("best", "best.old", "last"):
        files.write_text(bucket / name, name)
    files.replace(bucket / "best", bucket / "last")
    assert (bucket / "last").read_text() == "best"
    assert (bucket / "best.old").read_text() == "best.old"
    assert not (bucket / "best").exists()
    files.write_text(bucket / "a" / "b" / "c", "deep")
    files.move(bucket / "a", bucket / "d")
    assert [*map(str, files.within(bucket))] == [
        f"{bucket}/{name}" for name in ("best.old", "d/b/c", "last")
    ]


def test_a_folder_is_replaced_by_what_was_written(bucket):
    target = bucket / "out"
    for name in ("old", "kept", "part/old", "part/new"):
        files.write_text(target / name, "before")
    settings = {"flag": "--output", "owned": ["old", "part"]}
    with pytest.raises(UserError, match="not empty"):
        with files.atomic_directory(target, overwrite=False, **settings):
            pass
    with pytest.raises(ValueError, match="stop"):
        with files.atomic_directory(target, overwrite=True, **settings) as x:
            (x / "old").write_text("half")
            raise ValueError("stop")
    assert (target / "old").read_text() == "before"
    with files.atomic_directory(target, overwrite=True, **settings) as x:
        (x / "part").mkdir()
        (x / "part" / "new").write_text("after")
    assert {
        str(x.relative_to(target)): x.read_text() for x in files.within(target)
    } == {"kept": "before", "part/new": "after"}


def test_what_needs_a_local_file_has_it(bucket):
    files.write_text(bucket / "model" / "weights.txt", "1")
    with files.local(bucket / "model" / "weights.txt") as here:
        assert here.name == "weights.txt" and here.read_text() == "1"
    assert not here.exists()
    with pytest.raises(UserError, match=f"^{bucket}/model/x is damaged"):
        with files.local(bucket / "model") as here:
            assert (here / "weights.txt").read_text() == "1"
            raise UserError(f"{here / 'x'} is damaged")
    with files.local(pathlib.Path("own")) as here:
        assert here == pathlib.Path("own")


def test_nothing_locks_there(bucket, caplog):
    with locks.hold(bucket / ".lock"), locks.hold(bucket / ".lock"):
        assert not bucket.exists()
    assert "cannot be locked" in caplog.text


def test_what_is_missing_is_told_from_what_cannot_be_asked(s3, bucket):
    with pytest.raises(FileNotFoundError):
        (bucket / "nothing").read_bytes()
    with pytest.raises(FileNotFoundError, match="no such bucket"):
        remote.path("s3://nowhere/folder").exists()
    with pytest.raises(UserError, match="for s4://; here are az, .*s3"):
        remote.path("s4://bucket/folder").exists()


def test_what_the_plugin_could_not_ask_for_is_not_missing(
    tf, s3, bucket, monkeypatch
):
    """It says "not found" whatever the server answers, or does not."""
    files.write_text(bucket / "held" / "file", "")

    def lost(uri):
        raise tf.errors.NotFoundError(None, None, "does not exist")

    def refused(uri):
        raise tf.errors.PermissionDeniedError(None, None, "")

    with monkeypatch.context() as patch:
        patch.setattr(tf.io.gfile, "stat", lost)
        for name in ("held", "held/file"):
            with pytest.raises(ConnectionError, match="cannot be reached"):
                (bucket / name).exists()
        assert not (bucket / "nothing").exists()
        patch.setattr(remote, "_children", refused)
        for ask in (remote.Path.exists, lambda path: [*path.iterdir()]):
            with pytest.raises(ConnectionError, match="access is refused"):
                ask(bucket / "nothing")
    # Keys may be good for a folder alone, and refused for the bucket.
    ask = tf.io.gfile.stat
    monkeypatch.setattr(
        *(tf.io.gfile, "stat"),
        lambda uri: refused(uri) if uri == "s3://bucket/" else ask(uri),
    )
    assert not (bucket / "nothing").exists()
    assert (bucket / "held").is_dir()


def test_a_full_tmp_is_no_server_that_fails(tf, bucket, monkeypatch):
    def full(*args, **settings):
        words = "Could not append to the internal temporary file."
        raise tf.errors.InternalError(None, None, words)

    monkeypatch.setattr(tf.io.gfile, "copy", full)
    with pytest.raises(OSError, match="No space left in /tmp") as raised:
        files.write_text(bucket / "file", "text")
    assert raised.value.errno == errno.ENOSPC


PROGRAM = """
import sys
from affwild_omg.storage import files, remote

path = remote.path(sys.argv[1])
try:
    print(eval(sys.argv[2]))
except OSError as error:
    print(type(error).__name__, error)
sys.exit(7)
"""


def ask(path, question, **environment):
    """Asks in a new process: its exit code and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), question],
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    [
        "path.exists()",
        "[*path.glob('*')]",
        "path.read_bytes()",
        "files.write_text(path, 'x')",
        "path.unlink()",
    ],
)
def test_a_server_that_is_down_is_no_missing_file(s3, question):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code, out = ask(
        "s3://bucket/a/b",
        question,
        S3_ENDPOINT=f"http://127.0.0.1:{port}",
        AWS_MAX_ATTEMPTS="1",
    )
    assert code == 7  # not 134, the plugin's own
    assert out.startswith("ConnectionError [Errno 5] it cannot be reached")


@pytest.mark.slow
def test_a_server_that_stalls_is_waited_for_in_vain(s3):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        code, out = ask(
            "s3://bucket/a",
            "path.exists()",
            S3_ENDPOINT=f"http://127.0.0.1:{port}",
            S3_REQUEST_TIMEOUT_MSEC="1000",
            AWS_MAX_ATTEMPTS="1",
        )
    assert (code, out[:15]) == (7, "ConnectionError")
    assert "Timeout" in out


def test_without_the_plugin_a_line_says_what_is_needed(tf, monkeypatch):
    monkeypatch.setattr(
        tf.io.gfile, "get_registered_schemes", lambda: ["", "file", "ram", "gs"]
    )
    with pytest.raises(UserError) as error:
        remote._tensorflow.__wrapped__("s3")
    assert str(error.value) == (
        f"there is no file system for s3://; TensorFlow {tf.__version__} here "
        "is without tensorflow-io, which needs TensorFlow 2.17: pip install "
        "'affwild_omg[remote]', or name a local path"
    )


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ("PermissionDeniedError", ConnectionError),
        ("UnauthenticatedError", ConnectionError),
        ("InvalidArgumentError", ConnectionError),
        ("NotFoundError", FileNotFoundError),
        ("UnknownError", ConnectionError),
        ("InternalError", ConnectionError),
        ("ResourceExhaustedError", ConnectionError),
    ],
)
def test_errors_are_pythons(tf, s3, raised, expected):
    path = remote.path("s3://bucket/a")
    with pytest.raises(expected) as error, remote.errors(path):
        raise getattr(tf.errors, raised)(None, None, ": of the server")
    assert error.value.filename == str(path)
    assert type(error.value) is expected
    with pytest.raises(tf.errors.OpError), remote.errors(pathlib.Path("a")):
        raise tf.errors.UnknownError(None, None, "of a disk")
