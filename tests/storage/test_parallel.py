import functools
import multiprocessing
import os
import signal

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.storage.parallel import parallel_map


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
