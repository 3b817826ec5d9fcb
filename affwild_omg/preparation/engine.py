"""The preparation of a corpus: its clips become records of aligned faces.

Clips are prepared in parallel. Each finished one is kept in a hidden
folder beside the records until all are done, so that an interrupted run of
hours goes on where it stopped, and a records folder is always whole.
"""

import contextlib
import dataclasses
import functools
import pathlib
import tempfile

from absl import logging

from affwild_omg.cli import progress, wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.corpora.clips import Clip
from affwild_omg.corpora.problems import Problems
from affwild_omg.corpora.readers import READERS
from affwild_omg.data import manifest as written
from affwild_omg.faces import mesh
from affwild_omg.paper.treatment import MEDIAPIPE
from affwild_omg.preparation import manifest as manifests
from affwild_omg.preparation import staging, verification, worker
from affwild_omg.preparation.options import (
    AUTO,
    FPS,
    PROCESSES,
    RAY,
    PreparationOptions,
)
from affwild_omg.storage import files, locks, parallel, remote, stages


def prepare(options: PreparationOptions, *, overwrite: bool = False) -> dict:
    """Prepares a corpus, or makes anew what is damaged of its records.

    Args:
        options: what, from where, to where; of a shard, see `prepare_shard`.
        overwrite: replace records that are there.

    Returns:
        The manifest, see `affwild_omg.preparation.manifest`.

    Raises:
        UserError: the source or the target cannot be used, another process
            works on it, not one clip could be prepared, a shard is missing,
            what is damaged cannot be made as it was, or no process can work.
    """
    with _target(options) as target:
        staging.take_back(target)
        damaged = {}
        mends = not overwrite and not options.merge
        if mends and (target / written.MANIFEST).is_file():
            there = written.read(options.records)
            damaged = verification.damaged(there)
        if damaged:
            _mend(damaged, target, options)
            return there.content
        return _make(target, options, overwrite)


def prepare_shard(
    options: PreparationOptions, *, overwrite: bool = False
) -> str:
    """Prepares one part of a corpus, for `prepare` to merge.

    Args:
        options: whose shard says which part.
        overwrite: as the merge will be told.

    Returns:
        A line on what there is, and what is to be done.

    Raises:
        UserError: as `prepare`; or other shards have other options.
    """
    number, shards = options.part
    with _target(options) as target:
        if staging.is_moving(target):
            raise UserError(
                f"--records={options.records}: all is prepared, and the "
                "command that moves it there was interrupted; give that one "
                "again"
            )
        problems = Problems(strict=options.strict)
        clips = _clips(options, problems, overwrite)
        folder = staging.make(target, options)
        reports = _prepare(
            clips[number - 1 :: shards], folder, options, problems
        )
        staging.finish_shard(folder, number, reports)
    good = sum("reason" not in report for report in reports.values())
    number = wording.count(len(reports), "clip")
    command = _command(options, overwrite, shard=None, merge=True)
    return (
        f"shard {options.shard}: {good} of {number} prepared; once all "
        f"{shards} shards are: {command}"
    )


@contextlib.contextmanager
def _target(options):
    """Yields where the records go; nobody else prepares them meanwhile."""
    if options.engine == RAY:
        _cluster()  # before anything is written
    if options.landmarks == MEDIAPIPE:
        mesh.model_file()  # likewise
    target = remote.path(options.records).resolve()
    if files.is_remote(target) and len(target.parts) < 3:
        raise UserError(
            f"--records={options.records} is a whole bucket; name a folder in "
            "it"
        )
    remove_parents = files.make_folder(target.parent)
    try:
        part = options.part and options.part[0]
        with locks.hold(staging.lock(target), part):
            yield target
    except locks.Busy as error:
        what = f"its shard {options.shard}, or all of it" if part else "it"
        raise UserError(
            f"--records={options.records}: another command is preparing {what}"
            "; wait until that has ended, or end it, then give this one again"
        ) from error
    finally:
        remove_parents()


def _command(options, overwrite, **changes):
    """Returns a command line that differs in some options."""
    line = stages.command_line(
        "python -m affwild_omg.prepare",
        dataclasses.replace(options, **changes),
    )
    return f"{line} --overwrite" if overwrite else line


def _clips(options, problems, overwrite):
    """Returns the clips of a corpus, if it can be prepared."""
    files.check_output(options.records, flag="--records", overwrite=overwrite)
    clips = READERS[options.corpus](options.source, problems, options.frames)
    if not any(clip.found for clip in clips):
        picture = next(filter(None, clips[0].pictures or ()), "")
        raise UserError(
            f"--source={options.source}: none of the tables' {len(clips)} "
            f"clips is there, such as {clips[0].path / picture}; "
            "docs/corpora.md shows where they belong"
        )
    if options.fps != FPS and all(clip.pictures is None for clip in clips):
        raise UserError(
            f"--fps={options.fps:g} changes nothing, because all clips are "
            "films, which have times of their own; leave it out"
        )
    return clips


def _make(target, options, overwrite):
    """Returns the manifest of records that it makes."""
    problems = Problems(strict=options.strict)
    clips = _clips(options, problems, overwrite)
    of_reader, left_out = problems.lines, problems.left_out
    folder = staging.make(target, options)
    if options.merge:
        reports, missing = staging.gather(folder, clips)
        if missing:
            shards = staging.shards(folder)
            told = [f"{shard}/{shards}" for shard in missing]
            command = _command(options, overwrite, merge=False, shard=told[0])
            raise UserError(
                f"--merge: of the shards, {listed(told)} must be prepared "
                f"({next(iter(missing.values()))}); all others are kept: "
                f"{command}"
            )
        for report in reports.values():
            _tell(report, problems)
    else:
        reports = _prepare(clips, folder, options, problems)
    good = [clip for clip, x in reports.items() if "reason" not in x]
    if not good:
        files.remove(folder)
        present = next(x for x in reports.values() if x["found"])
        raise UserError(
            f"--source={options.source}: not one clip could be prepared; "
            f"the first that is there: {present['reason']}"
        )
    manifest = manifests.summarise(
        list(reports.values()), options, of_reader, left_out
    )
    staging.publish(folder, target, manifest, good)
    return manifest


def _mend(
    damaged: dict[tuple[str, str], written.Clip],
    target: pathlib.Path,
    options: PreparationOptions,
) -> None:
    """Makes some clips of the target again, if they come out as they were."""
    problems = Problems(strict=options.strict)
    clips = [
        clip
        for clip in READERS[options.corpus](
            options.source, problems, options.frames
        )
        if (clip.split, clip.key) in damaged
    ]
    options = dataclasses.replace(options, preview=False)
    if files.is_remote(target):  # no other node sees what lies here
        options = dataclasses.replace(
            options, engine=PROCESSES, ray_address=AUTO
        )
    left = {f"{key} of {split}": "not in it" for split, key in damaged}
    place = None if files.is_remote(target) else target
    with tempfile.TemporaryDirectory(
        prefix=files.PARTIAL, dir=place
    ) as temporary:
        folder = pathlib.Path(temporary)
        for clip, report in _prepare(clips, folder, options, problems).items():
            old = damaged[clip.split, clip.key]
            name = f"{clip.key} of {clip.split}"
            if "reason" in report:
                left[name] = report["reason"]
            # The checksums tell whether source, flags and version are those
            # of the records.
            elif report["chunks"] != old.chunks:
                left[name] = "it comes out as another"
            else:
                old.path.parent.mkdir(parents=True, exist_ok=True)
                made, *_ = staging.paths(folder, clip)
                files.replace(made, old.path)
                del left[name]
    if left:
        raise UserError(
            f"--source={options.source}: {listed(list(left))} cannot be made "
            f"as it was ({next(iter(left.values()))}); give the source and "
            "flags that the records were made with, or --overwrite to make all "
            "again"
        )
    logging.info("made anew: %s", listed([key for _, key in damaged]))


def _prepare(
    clips: list[Clip],
    folder: pathlib.Path,
    options: PreparationOptions,
    problems: Problems,
) -> dict[Clip, dict]:
    """Returns the report of each clip, in their order."""
    reports = {clip: staging.read_finished(folder, clip) for clip in clips}
    for report in filter(None, reports.values()):
        _tell(report, problems)
    jobs = [clip for clip, report in reports.items() if report is None]
    jobs.sort(key=staging.size, reverse=True)
    there = {clip: clip.found for clip in jobs}
    with progress.bar(
        description="finding faces",
        unit="clip",
        total=len(clips),
        initial=len(clips) - len(jobs),
    ) as bar:
        if jobs:
            # A clip that is unfinished when this stops leaves at most a
            # partial file, which `staging.publish` removes.
            with _map(folder, options, jobs) as results:
                for clip, report in results:
                    if "reason" in report and there[clip] and not clip.found:
                        raise UserError(
                            f"{clip.path} was there and is gone; once "
                            "--source is back, the same command goes on"
                        )
                    reports[clip] = report
                    _tell(report, problems)
                    if "no_preview" in report:
                        logging.warning(
                            "%s: no preview could be drawn (%s)",
                            *(clip.path, report["no_preview"]),
                        )
                    bar.update(1)
    return reports


def _cluster():
    """Imports what needs Ray."""
    try:
        from affwild_omg.preparation import cluster
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError(
            f"--engine={RAY} needs Ray, here and on all nodes; pip install "
            "'affwild_omg[cluster]' brings it"
        ) from error
    return cluster


def _map(folder, options, jobs):
    """Opens an iterator of (clip, report)."""
    work = functools.partial(worker.prepare, folder, options)
    if options.engine == RAY:
        return _cluster().ray_map(
            work,
            jobs,
            address=options.ray_address,
            folder=folder,
            died=worker.failed,
        )
    return parallel.parallel_map(
        work,
        jobs,
        workers=min(options.workers or parallel.cores(), len(jobs)),
        start=functools.partial(worker.start, *worker.settings(options)),
        died=worker.failed,
    )


def _tell(report, problems):
    """Tells what was wrong with a clip; one that is not there is none."""
    for line in report.get("problems", ()):
        problems.add(line)
    if report["found"] and "reason" in report:
        problems.add(report["reason"])
