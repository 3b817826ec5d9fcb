"""Models on disk: saving, recognising and loading them.

A model file is a Keras `.keras` archive with one more member, `card.json`,
which states the network and the length of its windows. Loading builds the
network of the card and reads nothing else but its weights, so no code from a
file can run. A workdir is what training writes; it stands for its best model.
What export writes, a SavedModel or files for other runtimes, has its card in
`assets.extra`, TensorFlow's place for such files.
"""

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Mapping

import keras
from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.nets import architectures, models
from affwild_omg.nets.architectures import Architecture, Fusion
from affwild_omg.paper.task import PREPARATION
from affwild_omg.paper.treatment import Treatment
from affwild_omg.paper.windows import TAILS
from affwild_omg.scoring.conformal import HalfWidths
from affwild_omg.storage import files, remote
from affwild_omg.weights.workdir import BEST, HALF_WIDTHS

CARD = "card.json"
EXPORTED_CARD = pathlib.Path("assets.extra") / CARD


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """Accompanies a model wherever it goes.

    Attributes:
        architecture: the network.
        sequence_length: frames of the windows that it was trained on.
        tail: how these were cut, see `paper.windows.cut`; that of earlier
            versions, where a file does not say.
        half_widths: how far the truth may lie from what it predicts; None
            where no evaluation has measured that.
        preparation: how its faces were cut out, see `paper.task.PREPARATION`.
        crops: what these looked like in training, see `data.crops.ranges`;
            None where that is not known.
        treatment: of the films it was trained on; what predicts a video treats
            it alike. None where that is not known.
        computation: what it was trained in, {"precision", "jit_compile",
            "tf32"} as the flags of train.py have them; None likewise.
    """

    architecture: Architecture | Fusion
    sequence_length: int
    tail: str = "pad"
    half_widths: HalfWidths | None = None
    preparation: int = PREPARATION
    crops: Mapping[str, tuple[float, float]] | None = None
    treatment: Treatment | None = Treatment()
    computation: Mapping[str, str | bool] | None = None

    def to_json(self) -> str:
        """Returns the card as a JSON object that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Reads what `to_json` wrote.

        Raises:
            UserError: the text is something else.
        """
        try:
            content = json.loads(text)
            length = content["sequence_length"]
            if not isinstance(length, int) or length < 1:
                raise TypeError(f"sequence_length is {length!r}")
            tail = content.get("tail", "pad")
            if tail not in TAILS:
                raise TypeError(f"tail is {tail!r}")
            widths = content.get("half_widths")
            crops = content.get("crops")
            # Earlier versions had none but the usual one.
            known = content.get("treatment", dataclasses.asdict(Treatment()))
            card = cls(
                architecture=architectures.from_dict(content["architecture"]),
                sequence_length=length,
                tail=tail,
                half_widths=widths and HalfWidths(**widths),
                preparation=content.get("preparation", 1),
                crops=crops and _ranges(crops),
                treatment=None if known is None else Treatment.read(known),
                computation=content.get("computation"),
            )
        except (
            *(KeyError, TypeError, AttributeError),
            ValueError,  # also what is no JSON
        ) as error:
            message = f"its {CARD} is of another version: {error}"
            raise UserError(message) from error
        if card.preparation != PREPARATION:
            raise UserError(
                f"its faces were cut out by preparation {card.preparation}, "
                f"and this version of affwild_omg has {PREPARATION}; install "
                "the version that trained it"
            )
        return card


def _ranges(crops):
    """Returns {name: (low, high)}; raises TypeError of anything else."""
    for name, ends in crops.items():
        kinds = {type(x) for x in ends}
        if len(ends) != 2 or not kinds <= {int, float}:
            raise TypeError(f"crops has {ends!r} for {name}")
    return {name: tuple(ends) for name, ends in crops.items()}


def save_model(model: keras.Model, card: Card, path: pathlib.Path) -> None:
    """Writes a model file without optimizer, whole or not at all."""
    with files.whole(path) as unfinished:
        write_model(model, card, unfinished)


def write_model(
    model: keras.Model,
    card: Card,
    path: pathlib.Path,
    *,
    include_optimizer: bool = False,
    members: Mapping[str, str] | None = None,
) -> None:
    """Writes a model file where nobody looks before it is whole.

    Args:
        model: built from the card's network.
        card: of the model.
        path: of the file, see `files.whole`.
        include_optimizer: whether its state is saved, too.
        members: {name: text} of more files in the archive.
    """
    # Keras respects include_optimizer for its older formats only.
    optimizer = getattr(model, "optimizer", None)
    # Keras writes the weights of a large model beside it first, into a file of
    # a name of its own, which would stay if the process is killed.
    folder = path.with_name(f"{path.name}.saving")
    files.remove(folder)
    folder.mkdir()
    try:
        if not include_optimizer:
            model.optimizer = None
        saved = folder / path.name
        model.save(saved)
        with zipfile.ZipFile(saved, "a") as archive:
            added = {CARD: card.to_json(), **(members or {})}
            for name, text in added.items():
                archive.writestr(name, text)
        saved.replace(path)
    finally:
        model.optimizer = optimizer
        files.remove(folder)


def load_model(
    path: os.PathLike | str, *, flag: str = "--model", stateful: bool = False
) -> tuple[keras.Model, Card]:
    """Loads a workdir's best model, or a model file.

    Args:
        path: workdir or `.keras` file.
        flag: that named it, for messages, as in all functions here.
        stateful: whether the network's state goes in and out, see
            `models.build`.

    Raises:
        UserError: it does not exist, or is something else.
    """
    path = _model_file(remote.path(path), flag)
    card = dataclasses.replace(
        read_card(path, flag=flag), half_widths=_read_half_widths(path)
    )
    model = models.build(card.architecture, seed=None, stateful=stateful)
    load_weights(model, path, flag=flag)
    return model, card


def write_half_widths(
    path: os.PathLike | str, widths: HalfWidths, model_sha256: str
) -> None:
    """Writes what was measured of a workdir's best model beside it.

    Args:
        path: workdir or model file; nothing is written for any other.
        widths: that were measured.
        model_sha256: of what they were measured on, see `digest`.
    """
    path = remote.path(path)
    if is_exported(path) or not (path.is_dir() or path.name == BEST):
        return
    files.write_json(
        (path / BEST if path.is_dir() else path).with_name(HALF_WIDTHS),
        dataclasses.asdict(widths) | {"model_sha256": model_sha256},
    )


def _read_half_widths(path):
    """Reads what `write_half_widths` wrote of this very model file."""
    file = path.with_name(HALF_WIDTHS)
    if path.name != BEST or not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        measured_on = content.pop("model_sha256")
        widths = HalfWidths(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is damaged ({error!r}); remove it, and evaluate.py "
            "--split=validation writes it again"
        ) from error
    if measured_on == files.digest(path):
        return widths
    logging.warning(
        "%s is of an earlier model, and not used; evaluate.py "
        "--split=validation measures it anew",
        file,
    )
    return None


def load_weights(
    model: keras.Model, path: pathlib.Path, *, flag: str = "--model"
) -> None:
    """Gives a model the weights of a model file.

    Args:
        model: built from the file's card; if it is compiled, its optimizer
            gets its state, too.
        path: `.keras` file.
        flag: that named it.

    Raises:
        UserError: the file is damaged or of another network.
    """
    with files.local(path) as here:
        try:
            model.load_weights(here)
        except (
            zipfile.BadZipFile,
            KeyError,
            TypeError,
            ValueError,
            OSError,
            RuntimeError,  # h5py raises it on some damage
        ) as error:
            raise _damaged(path, flag) from error


def read_card(path: os.PathLike | str, *, flag: str = "--model") -> Card:
    """Reads the card of a workdir's best model, or of a model file.

    Raises:
        UserError: it does not exist, or is something else.
    """
    path = _model_file(remote.path(path), flag)
    try:
        with files.archive(path) as archive:
            return Card.from_json(archive.read(CARD).decode())
    except UserError as error:
        raise UserError(f"{flag}={path}: {error}") from error
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise _damaged(path, flag) from error


def _model_file(path, flag):
    """Returns the file that a workdir stands for, or the file itself."""
    if is_exported(path):
        raise UserError(
            f"{flag}={path} is what export wrote; give the workdir or .keras "
            "file that it was made from"
        )
    if path.is_dir():
        inside = (x for x in path.iterdir() if x.name[0] != ".")
        if versions := [x for x in inside if is_exported(x)]:
            newest = max(versions, key=lambda x: (len(x.name), x.name))
            raise UserError(
                f"{flag}={path} holds folders that export wrote; give one of "
                f"them, such as {newest}"
            )
        if not (path / BEST).is_file():
            raise UserError(
                f"{flag}={path} holds no {BEST}, nor what export wrote; give a "
                "workdir in which train.py has finished an epoch"
            )
        return path / BEST
    if not path.exists():
        raise UserError(
            f"{flag}={path} does not exist; give a workdir or a .keras file"
        )
    if path.suffix != ".keras":
        raise UserError(
            f"{flag}={path} does not end in .keras, as model files do; give "
            "one that does, or a workdir"
        )
    return path


def _damaged(path, flag):
    return UserError(
        f"{flag}={path} is damaged or not a model file of this project; give "
        "a workdir or .keras file that train.py or an importer has finished"
    )


def is_saved_model(path: pathlib.Path) -> bool:
    """Returns whether the path is a SavedModel folder."""
    return (path / "saved_model.pb").is_file()


def is_exported(path: pathlib.Path) -> bool:
    """Returns whether the path is a folder that export wrote."""
    return is_saved_model(path) or (path / EXPORTED_CARD).is_file()


def digest(model: os.PathLike | str) -> str:
    """Returns the SHA-256 of a model file, a workdir's best or an export."""
    path = remote.path(model)
    if is_exported(path):
        return files.digest(*files.within(path))
    return files.digest(path / BEST if path.is_dir() else path)
