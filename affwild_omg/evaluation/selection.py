"""Post-processing beside the model that it was chosen for.

`postprocessing.json` holds the steps, the windows that they were chosen with,
the search, and the digest of the model file: a workdir that has been trained
on since is told from the one they were chosen for.
"""

import dataclasses
import json
import pathlib

from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.scoring import postprocessing
from affwild_omg.scoring.frames import Frames
from affwild_omg.storage import files
from affwild_omg.weights import model_file

NONE = "none"
_REMEDY = (
    "choose again: evaluate.py --split=validation --choose_postprocessing, or "
    f"leave it out: --postprocessing={NONE}"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """Post-processing, and where it comes from.

    Attributes:
        settings: the steps.
        sequence_length: frames of the windows that they were chosen with.
        search: what was tried, see `postprocessing.choose`.
        model: digest of the model file, "" where there is none.
    """

    settings: postprocessing.Settings
    sequence_length: int
    search: dict
    model: str

    def to_json(self) -> str:
        """Returns a JSON object that `read` reads."""
        content = self.settings.to_dict() | {
            "sequence_length": self.sequence_length,
            "search": self.search,
            "model_sha256": self.model,
        }
        return json.dumps(content, indent=2) + "\n"


def choose(validation: Frames, *, model: str, estimate: str) -> Chosen:
    """Chooses the steps that raise CCC on validation (section 6.3).

    Args:
        validation: the validation split.
        model: what predicted it.
        estimate: "median" or "mean" of each sequence.

    Raises:
        UserError: no utterance has labels.
    """
    try:
        settings, search = postprocessing.choose(validation, estimate=estimate)
    except ValueError as error:
        raise UserError(
            f"--choose_postprocessing: {error}; evaluate records of a split "
            "that has them"
        ) from error
    return Chosen(
        settings=settings,
        sequence_length=validation.sequence_length,
        search=search,
        model=_digest(model),
    )


def place(model: str, postprocessing: str) -> pathlib.Path | None:
    """Returns the file that holds, or is to hold, a model's post-processing.

    Args:
        model: workdir, model file or SavedModel.
        postprocessing: flag of evaluate.py: the file; "" for the workdir's.

    Returns:
        The path; None for "none", and for what is no workdir.
    """
    if postprocessing == NONE:
        return None
    if postprocessing:
        return pathlib.Path(postprocessing)
    model = pathlib.Path(model)
    if not model.is_dir() or model_file.is_saved_model(model):
        return None
    return model / model_file.POSTPROCESSING


def find(
    model: str, postprocessing: str, *, estimate: str, sequence_length: int
) -> Chosen | None:
    """Reads the post-processing that an evaluation is to apply.

    Args:
        model: workdir, model file or SavedModel.
        postprocessing: flag of evaluate.py, see `place`; a workdir needs to
            have none.
        estimate: of this evaluation.
        sequence_length: of this evaluation.

    Raises:
        UserError: there is no such file, it is none, or it was chosen for
            another model, estimate or sequence length.
    """
    path = place(model, postprocessing)
    if path is None or not (postprocessing or path.exists()):
        return None
    chosen = read(path)
    if not postprocessing and chosen.model != _digest(model):
        raise UserError(
            f"{path} was chosen for an earlier model than --model={model} "
            f"holds now; {_REMEDY}"
        )
    for name, here, there in (
        ("estimate", estimate, chosen.settings.estimate),
        ("sequence_length", sequence_length, chosen.sequence_length),
    ):
        if here != there:
            raise UserError(
                f"{path} was chosen with --{name}={there}, not {here}; give "
                f"that, or {_REMEDY}"
            )
    return chosen


def source(model: str, postprocessing: str, chosen: Chosen) -> dict:
    """Says where the post-processing of an evaluation comes from.

    Another model's steps are warned of: a user may want them, for an export
    of the same network, or be mistaken.

    Args:
        model: workdir, model file or SavedModel.
        postprocessing: flag of evaluate.py, see `place`.
        chosen: what is applied.

    Returns:
        {"file", "same_model": whether they were chosen for this model file;
        None where one of the two has no digest, such as a SavedModel}.
    """
    digests = chosen.model, _digest(model)
    same = digests[0] == digests[1] if all(digests) else None
    path = place(model, postprocessing)
    if same is False:
        logging.warning(
            "%s was chosen for another model than --model=%s", path, model
        )
    return {"file": str(path), "same_model": same}


def read(path: pathlib.Path) -> Chosen:
    """Reads what `Chosen.to_json` wrote.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        length = content.pop("sequence_length")
        if not isinstance(length, int) or length < 1:
            raise UserError(f"sequence_length is {length!r}")
        search, model = content.pop("search"), content.pop("model_sha256")
        settings = postprocessing.Settings.from_dict(content)
    except FileNotFoundError as error:
        raise UserError(
            f"--postprocessing={path} does not exist; {_REMEDY}"
        ) from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is no post-processing of evaluate.py ({error}); {_REMEDY}"
        ) from error
    return Chosen(
        settings=settings, sequence_length=length, search=search, model=model
    )


def write(chosen: Chosen, path: pathlib.Path) -> None:
    """Writes post-processing, whole or not at all."""
    files.write_text(path, chosen.to_json())


def _digest(model):
    """Returns the SHA-256 of a workdir's best model, or of a model file."""
    path = pathlib.Path(model)
    if path.is_dir():
        path /= model_file.BEST
    return files.digest(path) if path.is_file() else ""


def table(settings: postprocessing.Settings) -> list[str]:
    """Returns the steps as lines for a console."""
    return [
        f"{target}: "
        + (
            ", ".join(
                text
                for text, used in (
                    (
                        f"median over {steps.median_window} frames",
                        steps.median_window > 1,
                    ),
                    (
                        f"smoothing of {steps.smoothing_strength:g} frames",
                        steps.smoothing_strength > 0,
                    ),
                )
                if used
            )
            or "no step raised CCC on validation"
        )
        for target, steps in settings.targets.items()
    ]
