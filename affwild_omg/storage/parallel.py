"""Maps jobs over processes, which end when the main one is interrupted."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence

from affwild_omg.cli.errors import UserError


def cores() -> int:
    """Returns how many cores this process may use."""
    # Not cpu_count: a container or a batch system may allow fewer.
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def parallel_map(
    work: Callable,
    jobs: Sequence,
    *,
    workers: int,
    initializer: Callable | None = None,
    initargs: tuple = (),
) -> Iterator[Iterator[tuple]]:
    """Opens an iterator of (job, work(job)), as the jobs are finished.

    Whatever ends the block early, Ctrl-C too, ends the processes with it.

    Args:
        work: a function that can be pickled.
        jobs: what to call it on, the longest first, so that no worker is
            left alone with one at the end.
        workers: processes.
        initializer: called once in each process.
        initargs: its arguments.

    Raises:
        UserError: a process died.
    """
    others = set(multiprocessing.active_children())
    # Spawned: a forked TensorFlow hangs.
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=initializer,
        initargs=initargs,
    )
    try:
        with _interrupts_held():
            tasks = {pool.submit(work, job): job for job in jobs}
        yield (
            (tasks[task], task.result())
            for task in concurrent.futures.as_completed(tasks)
        )
    except BaseException as error:
        # Nobody should wait for a worker's job after Ctrl-C.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        if isinstance(error, concurrent.futures.process.BrokenProcessPool):
            raise UserError(
                "a worker process died, most likely for lack of memory; what "
                "is finished is kept: give the same command again, with more "
                f"memory free or fewer --workers than {workers}"
            ) from error
        raise
    pool.shutdown()


@contextlib.contextmanager
def _interrupts_held():
    """Keeps Ctrl-C from processes that start meanwhile.

    A terminal sends it to the workers, too, each of which would answer with a
    traceback; the main process ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
