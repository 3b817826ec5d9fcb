"""Clips prepared on the nodes of a Ray cluster, each by a task of its own."""

import collections
import contextlib
import pathlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

import ray

from affwild_omg import __version__
from affwild_omg.cli.errors import UserError
from affwild_omg.corpora.clips import Clip
from affwild_omg.preparation.options import AUTO

# Of a worker; one takes 0.8 GB with its detector.
_NEEDS = {"num_cpus": 1, "memory": 10**9}
# Each after four that Ray itself has tried.
MOST_DEATHS = 10
_OF_NODES = ray.exceptions.NodeDiedError, ray.exceptions.LocalRayletDiedError


def ray_map(
    work: Callable[[Clip], dict],
    clips: Sequence[Clip],
    *,
    address: str,
    folder: pathlib.Path,
    died: Callable[[Clip, str], dict],
) -> contextlib.AbstractContextManager[Iterator[tuple[Clip, dict]]]:
    """Opens an iterator of (clip, work(clip)), as the clips are finished.

    What a node had in work when it died is given to another one; a clip with
    which `MOST_DEATHS` died is to blame itself.

    Args:
        work: a function that can be pickled.
        clips: what to call it on, the longest first.
        address: of the cluster, as `ray.init` takes it.
        folder: that all nodes must see.
        died: called with a clip whose processes died, time and again, and
            how; what it returns takes the place of the result.

    Raises:
        UserError: there is no such cluster, or a node of it lacks the files or
            has another version of this package.
    """
    return contextlib.closing(_results(work, clips, address, folder, died))


def _results(work, clips, address, folder, died):
    # Ray ends a driver at once, without an order.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address != AUTO:
            # Ray itself would wait for minutes where nobody listens.
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=20).close()
        ray.init(address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"--ray_address={address}: no Ray cluster answers there, at "
            f"host:port ({error}); start one by ray start --head, and ray "
            "start --address=HOST:6379 on its other nodes"
        ) from error
    try:
        signal.signal(signal.SIGTERM, handler)
        task = ray.remote(**_NEEDS)(_prepare)

        def begin(clip):
            return task.remote(work, clip, clip.found, folder, __version__)

        left, deaths = {begin(x): x for x in clips}, collections.Counter()
        while left:
            (done, *_), _ = ray.wait(list(left))
            clip = left.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                deaths[clip] += isinstance(error, _OF_NODES)
                if isinstance(error, _OF_NODES) and deaths[clip] < MOST_DEATHS:
                    left[begin(clip)] = clip
                    continue
                result = died(clip, type(error).__name__)
            yield clip, result
    finally:
        ray.shutdown()


def _prepare(work, clip, found, folder, version):
    """Prepares a clip, if this node has what the others have."""
    own = f"{socket.gethostname()}, a node of the Ray cluster,"
    if version != __version__:
        raise UserError(
            f"{own} has affwild_omg {__version__}, not {version}; install the "
            "same on all nodes"
        )
    seen = {folder: folder.is_dir(), clip.path: clip.found or not found}
    for path in seen:
        if not seen[path]:
            raise UserError(
                f"{own} does not see {path}; --source and --records must lie "
                "on what all nodes share, by the same names"
            )
    return work(clip)
