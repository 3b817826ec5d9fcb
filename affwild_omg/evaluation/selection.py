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
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.scoring import postprocessing
from affwild_omg.scoring.frames import Frames
from affwild_omg.scoring.postprocessing import Settings
from affwild_omg.storage import files
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
        search: the CCCs by step, see `postprocessing.choose`.
        model_sha256: of the model file; "" for a SavedModel.
    """

    settings: Settings
    sequence_length: int
    search: dict
    model_sha256: str

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
            return cls(settings=Settings.from_dict(content), **aside)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(
                f"{file} is not post-processing of evaluate.py ({error}); "
                f"{_REMEDY}"
            ) from error


def path(options: EvaluationOptions) -> pathlib.Path | None:
    """Returns the file that holds, or is to hold, a model's post-processing.

    --postprocessing, else that of the workdir; None for "none", and for a
    model that is not a workdir.
    """
    if options.postprocessing:
        named = options.postprocessing != NONE
        return pathlib.Path(options.postprocessing) if named else None
    model = pathlib.Path(options.model)
    if not model.is_dir() or model_file.is_saved_model(model):
        return None
    return model / workdirs.POSTPROCESSING


def path_to_choose(
    options: EvaluationOptions, overwrite: bool
) -> pathlib.Path | None:
    """Returns where chosen steps go, None if none are to be chosen.

    Raises:
        UserError: there is no such place, or it holds steps already.
    """
    if not options.choose_postprocessing:
        return None
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


def choose(options: EvaluationOptions, validation: Frames) -> Chosen:
    """Chooses steps, see `postprocessing.choose`."""
    settings, search = postprocessing.choose(
        validation, estimate=options.estimate
    )
    return Chosen(
        settings=settings,
        sequence_length=validation.sequence_length,
        search=search,
        model_sha256=_file_digest(options),
    )


def find(options: EvaluationOptions, sequence_length: int) -> Chosen | None:
    """Reads the post-processing that an evaluation is to apply.

    Args:
        options: of the evaluation; a workdir need not have any.
        sequence_length: frames of its windows.

    Raises:
        UserError: as `Chosen.read`, or the steps were chosen for another
            model, estimate or sequence length.
    """
    file = path(options)
    if file is None or not (options.postprocessing or file.exists()):
        return None
    chosen = Chosen.read(file)
    own = _file_digest(options)
    if not options.postprocessing and chosen.model_sha256 != own:
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


def source(options: EvaluationOptions, chosen: Chosen) -> dict:
    """Returns where the post-processing of an evaluation comes from.

    Warns of steps of another model: a user may want them, for an export of
    the same network, or be mistaken.

    Returns:
        {"file", "same_model": whether they were chosen for this model file;
        None where that cannot be told, as of a SavedModel}.
    """
    digests = chosen.model_sha256, _file_digest(options)
    same = digests[0] == digests[1] if all(digests) else None
    file = str(path(options))
    if same is False:
        logging.warning(
            "%s was chosen for another model than --model=%s",
            file,
            options.model,
        )
    return {"file": file, "same_model": same}


def digest(model: str) -> str:
    """Returns the SHA-256 of a model file, a workdir's best or a SavedModel."""
    place = pathlib.Path(model)
    if model_file.is_saved_model(place):
        return files.digest(*sorted(x for x in place.rglob("*") if x.is_file()))
    return files.digest(place / workdirs.BEST if place.is_dir() else place)


def _file_digest(options):
    saved = model_file.is_saved_model(pathlib.Path(options.model))
    return "" if saved else digest(options.model)


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
