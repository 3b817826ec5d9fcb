"""Post-processing beside the model that it was chosen for.

`postprocessing.json` holds the steps, the windows that they were chosen with,
the search, and the digest of the model file, which tells a workdir that has
been trained on since from the one that they were chosen for.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import protocol
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.scoring import postprocessing
from affwild_omg.scoring.frames import Frames
from affwild_omg.scoring.postprocessing import Settings
from affwild_omg.storage import files, remote
from affwild_omg.weights import model_file
from affwild_omg.weights import workdir as workdirs

NONE = "none"
_REMEDY = (
    "choose again: evaluate.py --split=validation --choose_postprocessing, or "
    f"leave it out: --postprocessing={NONE}"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """Post-processing, and what it was chosen for.

    Attributes:
        settings: the steps.
        sequence_length: frames of the windows that they were chosen with.
        tail: how these were cut, see `paper.windows.cut`.
        search: the CCCs by step, see `postprocessing.choose`.
        model_sha256: of the model file; "" for a SavedModel.
        validation: which utterances they were chosen on, of `VALIDATIONS`.
        level: at which CCC was to rise, of `protocol.LEVELS`.
    """

    settings: Settings
    sequence_length: int
    search: dict
    model_sha256: str
    tail: str
    validation: str = "all"
    level: str = "utterance"

    def write(self, file: pathlib.Path) -> None:
        """Writes post-processing, whole or not at all."""
        content = self.settings.to_dict() | vars(self)
        del content["settings"]
        files.write_json(file, content)

    @classmethod
    def read(cls, file: pathlib.Path) -> "Chosen":
        """Reads what `write` wrote.

        Raises:
            UserError: the file does not exist, or holds something else.
        """
        if not file.is_file():
            raise UserError(
                f"--postprocessing={file} does not exist; {_REMEDY}"
            )
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            aside = {
                name: content.pop(name)
                for name in ("sequence_length", "search", "model_sha256")
            }
            # Earlier versions cut in one way alone.
            aside["tail"] = content.pop("tail", "pad")
            aside["validation"] = content.pop("validation", "all")
            aside["level"] = content.pop("level", "utterance")
            return cls(settings=Settings.from_dict(content), **aside)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(
                f"{file} is not post-processing of evaluate.py ({error}); "
                f"{_REMEDY}"
            ) from error

    def same_model(self, model: str) -> bool | None:
        """Returns whether the steps were chosen for a model file.

        None where that cannot be told, as of a SavedModel.
        """
        own = _file_digest(model)
        return own == self.model_sha256 if own and self.model_sha256 else None


def file_of(
    options: EvaluationOptions, *, overwrite: bool
) -> pathlib.Path | None:
    """Returns the file that holds, or is to hold, a model's post-processing.

    --postprocessing, else that of the workdir; None for "none", and for a
    model that is not a workdir.

    Raises:
        UserError: chosen steps have no such file, or it holds some already.
    """
    file, model = None, remote.path(options.model)
    if options.postprocessing not in ("", NONE):
        file = remote.path(options.postprocessing)
    elif not options.postprocessing and model.is_dir():
        if not model_file.is_exported(model):
            file = model / workdirs.POSTPROCESSING
    if options.choose_postprocessing:
        if file is None:
            raise UserError(
                f"--choose_postprocessing has no workdir in --model={model} to "
                "write the steps to; name a file: --postprocessing=steps.json"
            )
        if file.exists() and not overwrite:
            raise UserError(
                f"--choose_postprocessing would replace {file}; give "
                "--overwrite to choose again, or leave it out to apply what is "
                "there"
            )
    return file


def choose(
    options: EvaluationOptions,
    validation: Frames,
    keys: Sequence[str],
    level: str,
) -> Chosen:
    """Chooses steps on some utterances, see `postprocessing.choose`.

    Args:
        options: of the evaluation.
        validation: the whole split.
        keys: of the utterances that decide.
        level: at which CCC is to rise, of `protocol.LEVELS`.
    """
    deciding = validation.subset(np.isin(validation.keys, keys))

    def rows(settings):
        found = protocol.rows_of(deciding, settings, level)
        return found.labels, found.predictions

    settings, search = postprocessing.choose(
        deciding,
        rows=rows,
        estimate=options.estimate,
        weights=options.sequence_weights,
    )
    return Chosen(
        settings=settings,
        sequence_length=validation.sequence_length,
        tail=validation.tail,
        search=search,
        model_sha256=_file_digest(options.model),
        validation=options.validation,
        level=level,
    )


def find(
    options: EvaluationOptions,
    file: pathlib.Path | None,
    sequence_length: int,
    tail: str,
    level: str,
) -> Chosen | None:
    """Reads the post-processing that an evaluation is to apply.

    Warns if a file that the user named is of another model: it may be meant,
    for an export of the same network, or a mistake. Likewise if CCC rose at
    another level.

    Args:
        options: of the evaluation.
        file: see `file_of`; a workdir need not have it.
        sequence_length: frames of the windows.
        tail: how they are cut, see `paper.windows.cut`.
        level: of the headline.

    Raises:
        UserError: as `Chosen.read`, or the steps were chosen for another
            model, estimate, weights or cut.
    """
    if file is None or not (options.postprocessing or file.exists()):
        return None
    chosen = Chosen.read(file)
    same = chosen.same_model(options.model)
    other = f"{file} was chosen for another model than --model={options.model}"
    if not options.postprocessing and not same:
        raise UserError(f"{other} holds now; {_REMEDY}")
    if same is False:
        logging.warning(other)
    if chosen.level != level and not chosen.settings.change_nothing:
        logging.warning(
            "%s was chosen by the CCC of %ss, which may lower that of %ss; %s, "
            "with --level=%s",
            *(file, chosen.level, level, _REMEDY, level),
        )
    for name, here, there in (
        ("estimate", options.estimate, chosen.settings.estimate),
        ("sequence_weights", options.sequence_weights, chosen.settings.weights),
        ("sequence_length", sequence_length, chosen.sequence_length),
        ("tail", tail, chosen.tail),
    ):
        if here != there:
            raise UserError(
                f"{file} was chosen with --{name}={there}, not {here}; give "
                f"that, or {_REMEDY}"
            )
    return chosen


def _file_digest(model):
    saved = model_file.is_exported(remote.path(model))
    return "" if saved else model_file.digest(model)
