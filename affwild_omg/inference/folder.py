"""The folder of results: what each film has there, and what made it.

A film's results are files of its name without the ending. `<stem>.json` comes
last: without it they are not whole. It states what made them, and the sizes of
the others.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

from absl import logging

import affwild_omg
from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.faces import camera
from affwild_omg.inference.options import PredictionOptions
from affwild_omg.storage import files
from affwild_omg.weights import model_file

TABLE, TIMELINE, SUMMARY = ".csv", ".png", ".json"
ANNOTATED = "_annotated.mp4"
FORMATS = {"elan": ".eaf", "fex": "_fex.csv", "abaw": "_abaw.txt"}
ALL = (TABLE, TIMELINE, SUMMARY, ANNOTATED, *FORMATS.values())

# Of the options, what does not change a result.
_ELSEWHERE = {"model", "video", "output", "resume", "verify"}


@dataclasses.dataclass(frozen=True)
class Job:
    """A film, and where its results go.

    Attributes:
        path: of the film.
        folder: of the results.
        endings: of the results' names.
    """

    path: pathlib.Path
    folder: pathlib.Path
    endings: tuple[str, ...]

    def name(self, ending: str) -> str:
        """Returns the name of one of its results."""
        return f"{self.path.stem}{ending}"

    @property
    def names(self) -> list[str]:
        """The names of its results."""
        return [self.name(ending) for ending in self.endings]

    @property
    def owned(self) -> set[str]:
        """These, and those of earlier results by their own account."""
        earlier = self._read().get("files", {})
        return {*self.names, *earlier} & {self.name(x) for x in ALL}

    def _read(self) -> dict:
        """Returns what the summary states; {} if there is none."""
        path = self.folder / self.name(SUMMARY)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ConnectionError:  # there may be one
            raise
        except (OSError, ValueError):
            return {}
        # Anything else is not ours.
        parts = ("made_by", "files") if isinstance(content, dict) else ()
        known = parts and all(isinstance(content.get(x), dict) for x in parts)
        return content if known else {}

    @property
    def exists(self) -> bool:
        """Whether anything of such a name is there."""
        places = [self.folder / name for name in self.names]
        return any(x.exists() or os.path.lexists(x) for x in places)

    def require_done(self, wanted: dict) -> None:
        """Checks that its results are whole, and made by what is wanted.

        Args:
            wanted: see `made_by`.

        Raises:
            UserError: they are not whole, or made by something else.
        """
        content, broken = self._read(), []
        made, sizes = content.get("made_by"), content.get("files")
        if not made or not sizes:
            broken.append(self.name(SUMMARY))
        for name, size in (sizes or {}).items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != size:
                broken.append(name)
        if broken:
            raise UserError(
                f"{self.folder}: the results of {self.path} are not whole "
                f"({listed(broken)}); give --overwrite to make them again, or "
                "name another folder by --output"
            )
        if other := _differences(made, wanted):
            raise UserError(
                f"{self.folder}: the results of {self.path.stem} were made by "
                f"another {listed(other)}; give --overwrite to replace them, "
                "or name another folder by --output"
            )


def _differences(made: dict, wanted: dict) -> list[str]:
    """Names what made a result and is not as wanted."""
    theirs, ours = (
        {
            "model": x.get("model", {}).get("sha256"),
            "video": x.get("video", {}).get("sha256"),
            **{f"--{k}": v for k, v in x.get("options", {}).items()},
        }
        for x in (made, wanted)
    )
    return [
        name
        for name in {**ours, **theirs}
        if theirs.get(name) != ours.get(name)
    ]


def made_by(path: pathlib.Path, options: PredictionOptions, model: str) -> dict:
    """Returns what makes a film's results what they are.

    Args:
        path: of the film.
        options: of the prediction.
        model: SHA-256 of the model.
    """
    settings = dataclasses.asdict(options)
    film = {"path": os.fspath(path)}
    if camera.index_of(path) is None:
        film |= {"bytes": path.stat().st_size, "sha256": files.digest(path)}
    return {
        "version": affwild_omg.__version__,
        "model": {"path": options.model, "sha256": model},
        "video": film,
        "options": {
            name: list(x) if isinstance(x, tuple) else x
            for name, x in settings.items()
            if name not in _ELSEWHERE
        },
    }


def plan(
    films: Sequence[pathlib.Path],
    options: PredictionOptions,
    *,
    overwrite: bool,
) -> list[Job]:
    """Lists which films are to be predicted, before anything is written.

    Args:
        films: all that --video names.
        options: of the prediction; with `resume`, films whose results are
            whole are left out, and that is told.
        overwrite: replace the results that are there.

    Raises:
        UserError: the folder cannot be used, two films would have results of
            one name, a result would replace a film, or results are there that
            may not be replaced.
    """
    folder = files.check_output(options.output, flag="--output", overwrite=True)
    endings = [TABLE, TIMELINE, SUMMARY, *[ANNOTATED] * options.annotate]
    endings += [FORMATS[name] for name in options.format or ()]
    jobs = [Job(path, folder, tuple(endings)) for path in films]
    _require_apart(jobs)
    there = [job for job in jobs if job.exists and not overwrite]
    if there and not options.resume:
        raise UserError(
            f"--output={folder} holds results of "
            f"{listed([job.path.stem for job in there])}; give --resume to "
            "leave out films whose results are whole, --overwrite to replace "
            "them, or name another folder"
        )
    if there:
        model = model_file.digest(options.model)
        for job in there:
            job.require_done(made_by(job.path, options, model))
        logging.info("%s: already done", wording.count(len(there), "video"))
        jobs = [job for job in jobs if job not in there]
    return jobs


def _require_apart(jobs: list[Job]) -> None:
    """Checks that no result has the name of another, or of a film."""
    films = {os.path.abspath(job.path): job for job in jobs}
    owners = {}
    for job in jobs:
        for name in job.names:
            other = owners.setdefault(name, job)
            if other is not job:
                raise UserError(
                    f"--video names {other.path} and {job.path}, whose results "
                    f"would both be {name}; give them in two commands, each "
                    "with an --output of its own, or rename one"
                )
            if film := films.get(os.path.abspath(job.folder / name)):
                raise UserError(
                    f"--output={job.folder}: {name} is to be a result of "
                    f"{job.path} and is a film of --video itself "
                    f"({film.path}); name another folder"
                )
