"""Post-processing beside the model that it was chosen for.

`postprocessing.json` holds the steps, the windows that they were chosen with,
the search, and the digest of the model file, which tells a workdir that has
been trained on since from the one that they were chosen for.
"""

import dataclasses
import json
import pathlib

from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.scoring import postprocessing
from affwild_omg.scoring.frames import Frames
from affwild_omg.scoring.postprocessing import Settings
from affwild_omg.storage import files
from affwild_omg.weights import model_file

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
        search: what was tried, see `postprocessing.choose`.
        model: digest of the model file; "" for a SavedModel.
    """

    settings: Settings
    sequence_length: int
    search: dict
    model: str


def path(options) -> pathlib.Path | None:
    """Returns the file that holds, or is to hold, a model's post-processing.

    Args:
        options: of the evaluation.

    Returns:
        --postprocessing, else that of the workdir; None for "none", and for
        a model that is not a workdir.
    """
    if options.postprocessing == NONE:
        return None
    if options.postprocessing:
        return pathlib.Path(options.postprocessing)
    model = pathlib.Path(options.model)
    if not model.is_dir() or model_file.is_saved_model(model):
        return None
    return model / model_file.POSTPROCESSING


def path_to_choose(options, overwrite: bool) -> pathlib.Path:
    """Returns `path` if chosen steps may be written there.

    Raises:
        UserError: there is no such place, or it holds steps already.
    """
    target = path(options)
    if target is None:
        raise UserError(
            f"--choose_postprocessing has no workdir in --model="
            f"{options.model} to write the steps to; name a file: "
            "--postprocessing=steps.json"
        )
    if target.exists() and not overwrite:
        raise UserError(
            f"--choose_postprocessing would replace {target}; give --overwrite "
            "to choose again, or leave it out to apply what is there"
        )
    return target


def choose(options, validation: Frames) -> Chosen:
    """Chooses the steps that raise CCC on validation (section 6.3).

    Args:
        options: of the evaluation.
        validation: the validation split.

    Raises:
        UserError: no utterance has labels.
    """
    try:
        settings, search = postprocessing.choose(
            validation, estimate=options.estimate
        )
    except ValueError as error:
        raise UserError(
            f"--choose_postprocessing: {error}; evaluate records of a split "
            "that has them"
        ) from error
    return Chosen(
        settings=settings,
        sequence_length=validation.sequence_length,
        search=search,
        model=_file_digest(options.model),
    )


def find(options, sequence_length: int) -> Chosen | None:
    """Reads the post-processing that an evaluation is to apply.

    Args:
        options: of the evaluation; a workdir need not have any.
        sequence_length: frames of its windows.

    Raises:
        UserError: the file does not exist or holds something else, or the
            steps were chosen for another model, estimate or sequence length.
    """
    file = path(options)
    if file is None or not (options.postprocessing or file.exists()):
        return None
    chosen = _read(file)
    if not options.postprocessing and chosen.model != _file_digest(
        options.model
    ):
        raise UserError(
            f"{file} was chosen for an earlier model than --model="
            f"{options.model} holds now; {_REMEDY}"
        )
    for name, here, there in (
        ("estimate", options.estimate, chosen.settings.estimate),
        ("sequence_length", sequence_length, chosen.sequence_length),
    ):
        if here != there:
            raise UserError(
                f"{file} was chosen with --{name}={there}, not {here}; give "
                f"that, or {_REMEDY}"
            )
    return chosen


def _read(file):
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        aside = {
            name: content.pop(key)
            for name, key in (
                ("sequence_length", "sequence_length"),
                ("search", "search"),
                ("model", "model_sha256"),
            )
        }
        return Chosen(settings=Settings.from_dict(content), **aside)
    except FileNotFoundError as error:
        raise UserError(
            f"--postprocessing={file} does not exist; {_REMEDY}"
        ) from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{file} is not post-processing of evaluate.py ({error}); {_REMEDY}"
        ) from error


def write(chosen: Chosen, file: pathlib.Path) -> None:
    """Writes post-processing, whole or not at all."""
    content = chosen.settings.to_dict() | {
        "sequence_length": chosen.sequence_length,
        "search": chosen.search,
        "model_sha256": chosen.model,
    }
    files.write_text(file, json.dumps(content, indent=2) + "\n")


def provenance(options, chosen: Chosen | None) -> dict:
    """Returns what `results.Provenance` states of the post-processing.

    Warns of steps of another model: a user may want them, for an export of
    the same network, or be mistaken.

    Args:
        options: of the evaluation.
        chosen: what is applied, or None.

    Returns:
        "postprocessing", the steps, and "postprocessing_source", {"file",
        "same_model": whether they were chosen for this model file; None where
        a SavedModel has no such file}; {} if nothing is applied.
    """
    if chosen is None:
        return {}
    digests = chosen.model, _file_digest(options.model)
    same = digests[0] == digests[1] if all(digests) else None
    file = path(options)
    if same is False:
        logging.warning(
            "%s was chosen for another model than --model=%s",
            file,
            options.model,
        )
    return {
        "postprocessing": chosen.settings,
        "postprocessing_source": {"file": str(file), "same_model": same},
    }


def digest(model: str) -> str:
    """Returns the SHA-256 of a model file, a workdir's best or a SavedModel."""
    place = pathlib.Path(model)
    if model_file.is_saved_model(place):
        return files.digest(*sorted(x for x in place.rglob("*") if x.is_file()))
    return files.digest(place / model_file.BEST if place.is_dir() else place)


def _file_digest(model):
    saved = model_file.is_saved_model(pathlib.Path(model))
    return "" if saved else digest(model)


def lines(settings: Settings) -> list[str]:
    """Returns the steps as lines for a console."""
    told = []
    for target, steps in settings.targets.items():
        used = []
        if steps.median_window > 1:
            used.append(f"median over {steps.median_window} frames")
        if steps.smoothing_strength > 0:
            used.append(f"smoothing of {steps.smoothing_strength:g} frames")
        what = ", ".join(used) or "no step raised CCC on validation"
        told.append(f"post-processing of {target}: {what}")
    return told
