import functools
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.storage import parallel
from affwild_omg.storage.parallel import ahead, parallel_map


def square(folder, job):
    """Squares a number; one kills its process always, one the first time."""
    first = folder / "first"
    if job == 3 or (job == 5 and not first.exists()):
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job**2


def run(work, jobs, **settings):
    with parallel_map(work, jobs, **settings) as results:
        found = list(results)
    assert multiprocessing.active_children() == []
    return found


@pytest.mark.parametrize(
    ("text", "most"),
    [("max 100000\n", 6), ("150000 100000\n", 2), ("900000 100000\n", 6)],
)
def test_a_container_may_have_less_time_than_cores(
    tmp_path, monkeypatch, text, most
):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(parallel, "_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(6))
    assert parallel.cores() == 6
    quota.write_text(text)
    assert parallel.cores() == most


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_kills_its_process_costs_no_other(tmp_path, workers, caplog):
    found = run(
        functools.partial(square, tmp_path),
        range(8),
        workers=workers,
        died=lambda job, how: f"{job}: {how}",
    )
    assert sorted(found, key=lambda pair: pair[0]) == [
        *((0, 0), (1, 1), (2, 4), (3, "3: Killed")),
        *((4, 16), (5, 25), (6, 36), (7, 49)),
    ]
    assert "a worker process died (Killed); what was in work" in caplog.text


def test_a_death_without_a_way_out_is_told(tmp_path):
    with pytest.raises(UserError, match=r"worker process died \(Killed\), mo"):
        run(functools.partial(square, tmp_path), [1, 3], workers=2)


MAIN = """
import os, pathlib, time
from affwild_omg.storage.parallel import parallel_map

def work(job):
    pathlib.Path(f"{job}").write_text(f"{os.getpid()} \\n")
    time.sleep(600)

if __name__ == "__main__":
    with parallel_map(work, [0, 1], workers=2) as results:
        list(results)
"""


def wait_for(condition):
    end = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_no_worker_outlives_a_main_process_that_is_killed(tmp_path):
    (tmp_path / "main.py").write_text(MAIN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "main.py"], cwd=tmp_path, env=environment
    ) as main:
        names = [tmp_path / name for name in "01"]
        wait_for(lambda: all(x.exists() and x.read_text() for x in names))
        main.kill()
    for name in names:
        process = pathlib.Path("/proc", name.read_text().strip())
        # One that has ended may wait for who asks how.
        wait_for(
            lambda process=process: (
                not process.exists()
                or "(zombie)" in (process / "status").read_text()
            )
        )


def killed():
    os.kill(os.getpid(), signal.SIGSEGV)


def missing():
    import no_such_package  # noqa: F401


def started(start, job):
    start()
    return job


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (killed, UserError, r"died as it started \(Segmentation fault\)"),
        (missing, ModuleNotFoundError, "no_such_package"),
    ],
)
def test_no_job_is_blamed_for_a_process_that_cannot_start(
    workers, start, error, message
):
    with pytest.raises(error, match=message):
        run(
            functools.partial(started, start),
            range(4),
            workers=workers,
            start=start,
            died=pytest.fail,
        )


def test_items_are_made_ahead_in_order_and_no_more_than_said():
    made, lead = 0, []

    def items():
        nonlocal made
        for number in range(20):
            made += 1
            yield number, threading.get_ident()

    for taken, (number, maker) in enumerate(ahead(items(), 3)):
        assert number == taken and maker != threading.get_ident()
        time.sleep(0.01)
        lead.append(made - taken - 1)
    assert taken == 19 and max(lead) in (1, 2)  # and the one at hand


def test_an_error_comes_where_its_item_would():
    def items():
        yield 1
        yield 2
        raise OSError("gone")

    found = ahead(items(), 8)
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(OSError, match="gone"):
        next(found)


def test_who_closes_ends_the_thread():
    before, made = threading.active_count(), []
    found = ahead(map(made.append, range(100)), 4)
    next(found)
    assert threading.active_count() == before + 1
    found.close()
    assert threading.active_count() == before and len(made) <= 5
