"""Shards are prepared by processes of their own, as a batch system does."""

import time

import pytest

from tests.preparation.conftest import tree


@pytest.mark.slow
def test_three_jobs_make_the_records_of_one(start, local, tmp_path):
    records = tmp_path / "records"
    staged = tmp_path / ".records.partial"
    jobs = {i: start(records, f"--shard={i}/3", "--workers=1") for i in (1, 2)}
    # The second is killed once the first of its three clips is done.
    while not (done := list(staged.glob("reports/train/v[147]/u.mp4.json"))):
        assert jobs[2].poll() is None
        time.sleep(0.02)
    jobs[2].kill()
    (kept,) = staged.glob(f"train/{done[0].parent.name}/*.tfrecord")
    before = kept.stat()
    text, _ = jobs[1].communicate()
    assert jobs[1].returncode == 0, text
    assert "shard 1/3: 3 of 3 clips prepared; once all 3" in text

    merge = start(records, "--merge")
    text, _ = merge.communicate()
    assert merge.returncode == 2
    last = text.splitlines()[-1]
    assert "of the shards, 2/3, 3/3 must be prepared (it is not done)" in last
    assert last.endswith(f"--records={records} --shard=2/3")

    again = [start(records, f"--shard={i}/3", "--workers=2") for i in (2, 3)]
    texts = [job.communicate()[0] for job in again]
    assert [job.returncode for job in again] == [0, 0], texts
    after = kept.stat()
    assert (after.st_ino, after.st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )
    # The fifth is no film.
    assert "shard 2/3: 2 of 3 clips prepared; once all 3" in texts[0]
    merge = start(records, "--merge")
    text, _ = merge.communicate()
    assert merge.returncode == 0, text
    assert tree(records) == local
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
