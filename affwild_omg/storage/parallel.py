"""Work beside the main process or thread, which ends when that does."""

import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import pathlib
import signal
import threading
import typing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from absl import logging

from affwild_omg.cli.errors import UserError

Item = typing.TypeVar("Item")

# Of a container: microseconds of its cores' time in a period, and the period.
_QUOTA = pathlib.Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Returns how many cores this process may use."""
    # Not cpu_count: a container or a batch system may allow fewer, by naming
    # them or by their time.
    allowed = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # "max" is no quota
        quota, period = _QUOTA.read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    return allowed


def ahead(items: Iterable[Item], most: int) -> Iterator[Item]:
    """Yields items that a thread makes ahead of who takes them.

    An error of theirs is raised where the item would come. Close the iterator
    to end the thread early; the item at work is waited for.

    Args:
        items: used by that thread alone.
        most: that are made and not taken, 1 or more.
    """
    items, end, waiting = iter(items), object(), deque()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        while True:
            while len(waiting) < most:
                waiting.append(pool.submit(next, items, end))
            item = waiting.popleft().result()
            if item is end:
                return
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def parallel_map(
    work: Callable,
    jobs: Sequence,
    *,
    workers: int,
    start: Callable = int,
    died: Callable | None = None,
) -> contextlib.AbstractContextManager[Iterator[tuple]]:
    """Opens an iterator of (job, work(job)), as the jobs are finished.

    Whatever ends the block early, Ctrl-C too, ends the processes with it.

    A process that dies, by a crash in a library or for lack of memory, takes
    the others with it. What they had in work is then done again one by one, a
    process at a time, so that the rest can go on.

    Args:
        work: a function that can be pickled.
        jobs: what to call it on, the longest first, so that no worker is
            left alone with one at the end.
        workers: processes.
        start: makes a process able to work. `work` calls it, too; where it
            kills its process, no job is to blame.
        died: called with a job that kills its process alone, and how that
            died; what it returns takes the place of the job's result.

    Raises:
        UserError: a process died, and there is no `died`; or it died in
            `start`.
    """
    return contextlib.closing(_results(work, jobs, workers, start, died))


def _results(work, jobs, workers, start, died):
    left = list(jobs)
    while left:
        left, how = yield from _attempt(work, left, workers, start)
        if not left:
            return
        if died is None:
            raise UserError(
                f"a worker process died ({how}), most likely for lack of "
                "memory; give the same command again, with more memory free"
            )
        logging.warning(
            "a worker process died (%s); what was in work is done again, one "
            "by one",
            how,
        )
        # Jobs are begun in their order.
        suspects, left = left[:workers], left[workers:]
        while suspects:
            suspects, how = yield from _attempt(work, suspects, 1, start)
            if suspects:
                yield suspects[0], died(suspects.pop(0), how)


def _attempt(work, jobs, workers, start):
    """Yields (job, result).

    Returns:
        The jobs that are left because a process died, and how it died.
    """
    left = dict(enumerate(jobs))
    others = set(multiprocessing.active_children())
    # Spawned: a forked TensorFlow hangs.
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _end_with_main
    )
    try:
        with _interrupts_held():
            ready = pool.submit(start)
            tasks = {ready: None}
            with contextlib.suppress(BrokenProcessPool):
                for index, job in left.items():
                    tasks[pool.submit(work, job)] = index
        processes = set(multiprocessing.active_children()) - others
        for task in concurrent.futures.as_completed(tasks):
            if isinstance(task.exception(), BrokenProcessPool):
                continue
            result = task.result()
            if task is not ready:
                yield left.pop(tasks[task]), result
    except BaseException:
        # Nobody should wait for a worker's job after Ctrl-C.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    pool.shutdown()
    how = _how(process.exitcode for process in processes)
    if left and workers == 1 and ready.exception():
        raise UserError(
            f"a worker process died as it started ({how}), before it had any "
            "work; free memory, or install the packages again"
        )
    return list(left.values()), how


def _end_with_main():
    """Ends this process when the main one is killed, for it would wait on."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _how(codes):
    """Returns in words how the first process died, which ended the others."""
    ended = (None, 0, -signal.SIGTERM)
    code = next((code for code in codes if code not in ended), -signal.SIGTERM)
    return signal.strsignal(-code) if code < 0 else f"exit code {code}"


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
