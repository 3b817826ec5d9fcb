"""The preparation of a corpus: its clips become records of aligned faces.

Videos are prepared in parallel. Each finished one is kept in a hidden
folder beside the records until all are done, so that an interrupted run of
hours goes on where it stopped, and a records folder is always whole.
"""

import functools
import pathlib

from affwild_omg.cli import progress
from affwild_omg.cli.errors import UserError
from affwild_omg.corpora.clips import Clip
from affwild_omg.corpora.readers import READERS
from affwild_omg.preparation import manifest as manifests
from affwild_omg.preparation import staging, worker
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.storage import files, parallel


def prepare(options: PreparationOptions, *, overwrite: bool = False) -> dict:
    """Prepares a corpus.

    Args:
        options: what, from where, to where.
        overwrite: replace records that are there.

    Returns:
        The manifest, see `affwild_omg.preparation.manifest`.

    Raises:
        UserError: the source or the target cannot be used, not one clip could
            be prepared, or a worker process died.
    """
    target = files.check_output(
        options.records, flag="--records", overwrite=overwrite
    ).resolve()
    clips = READERS[options.corpus](options.source)
    if not any(clip.path.is_file() for clip in clips):
        raise UserError(
            f"--source={options.source}: none of the tables' {len(clips)} "
            "clips is there; they belong at <source>/<video>/<utterance>, "
            f"such as {clips[0].path}"
        )
    remove_parents = files.make_folder(target.parent)
    folder = staging.make(target, options)
    reports = _prepare_videos(clips, folder, options)
    if all("reason" in report for report in reports):
        files.remove(folder)
        remove_parents()
        present = next(report for report in reports if report["found"])
        raise UserError(
            f"--source={options.source}: not one clip could be prepared; "
            f"the first that is there: {present['reason']}"
        )
    manifest = manifests.summarise(reports, options)
    staging.publish(folder, target, manifest)
    return manifest


def _prepare_videos(
    clips: list[Clip], folder: pathlib.Path, options: PreparationOptions
) -> list[dict]:
    """Returns a report a clip, in their order."""
    videos = {}
    for clip in clips:
        videos.setdefault((clip.split, clip.video), []).append(clip)
    reports = {}
    with progress.bar(
        description="finding faces", unit="clip", total=len(clips)
    ) as bar:

        def keep(job, of_video):
            for clip, report in zip(job, of_video, strict=True):
                reports[clip.split, clip.key] = report
            bar.update(len(job))

        jobs = []
        for job in videos.values():
            if finished := staging.read_finished(folder, job):
                keep(job, finished)
            else:
                jobs.append(job)
        jobs.sort(key=lambda job: -sum(map(staging.size, job)))
        if jobs:
            # A video that is unfinished when this stops leaves only a partial
            # file, which the next run removes.
            with parallel.parallel_map(
                functools.partial(worker.prepare_video, folder),
                jobs,
                workers=min(options.workers or parallel.cores(), len(jobs)),
                initializer=worker.start,
                initargs=(options.detect_every,),
            ) as results:
                for job, of_video in results:
                    keep(job, of_video)
    return [reports[clip.split, clip.key] for clip in clips]
