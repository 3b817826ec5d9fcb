"""Golden frames: a short clip, and what a model's maker got out of it.

A SavedModel carries them, so that whoever runs it can see on his own machine,
with his own versions of the libraries, that each step from the file of a video
to the values does what it did where the model was exported. Each step is given
what was recorded of the one before, so that the first difference does not hide
the others.
"""

import dataclasses
import os
import pathlib
import zipfile
import zlib

import numpy as np

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.faces import alignment, landmarks
from affwild_omg.faces.video import Video
from affwild_omg.inference.predictor import Predictor
from affwild_omg.storage import files, remote

# TensorFlow's place for what is the project's own.
GOLDEN = pathlib.Path("assets.extra") / "golden"
CLIP = "clip.mp4"
RECORD = "record.npz"


@dataclasses.dataclass(frozen=True)
class Step:
    """A step on the way from a video to its values, and how well it repeats.

    Attributes:
        name: of the step.
        difference: the largest from what was recorded.
        allowed: what other processors and versions may differ by.
        unit: of both.
    """

    name: str
    difference: float
    allowed: float
    unit: str

    @property
    def same(self) -> bool:
        """Whether the step does what it did."""
        return self.difference <= self.allowed  # NaN is not

    def __str__(self) -> str:
        return (
            f"step {self.name} differs by {self.difference:.2g} {self.unit} "
            f"(allowed: {self.allowed:g})"
        )


# In the order of the steps. Decoders round differently by a level or two;
# dlib's landmarks are whole pixels of a patch of about twice the size.
_STEPS = {
    "decode": (3, "levels of 255"),
    "landmarks": (1, "pixels"),
    "crop": (2, "levels of 255"),
    "network": (1e-4, "of a value"),
}


def record(
    folder: pathlib.Path,
    box: tuple[float, float, float, float],
    predictor: Predictor,
) -> None:
    """Records beside a clip what each step makes of it.

    Args:
        folder: that holds the clip.
        box: x, y, width and height of the face in all its frames, in pixels.
        predictor: of the network.
    """
    done = {"box": np.array(box)}
    for name, step in _steps(folder, predictor).items():
        done[name] = step(done)
    np.savez_compressed(folder / RECORD, **done)


def replay(path: os.PathLike | str, predictor: Predictor) -> list[Step]:
    """Repeats each step on what was recorded of the one before.

    Args:
        path: of the SavedModel.
        predictor: loaded from it, or another that should do the same.

    Returns:
        The steps decode, landmarks, crop and network.

    Raises:
        UserError: the SavedModel has no golden frames, or they are damaged.
    """
    folder = remote.path(path) / GOLDEN
    if not folder.is_dir():
        raise UserError(
            f"--model={path} has no golden frames to repeat; give a "
            "SavedModel, exported by this version"
        )
    with files.local(folder) as here:
        return _replay(here, path, predictor)


def _replay(folder, path, predictor):
    try:
        with np.load(folder / RECORD) as file:
            recorded = dict(file)
        steps = _steps(folder, predictor)
        return [
            Step(name, _difference(step(recorded), recorded[name]), *rule)
            for (name, step), rule in zip(
                steps.items(), _STEPS.values(), strict=True
            )
        ]
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        *(EOFError, zipfile.BadZipFile, zlib.error),
    ) as error:
        raise UserError(
            f"--model={path}: its golden frames are damaged; export it again"
        ) from error


def verify(path: os.PathLike | str, predictor: Predictor) -> list[Step]:
    """Returns the steps of `replay`, all of which are the same.

    Raises:
        UserError: as `replay`, or a step does something else.
    """
    steps = replay(path, predictor)
    if others := [str(step) for step in steps if not step.same]:
        raise UserError(
            f"--model={path} does not do here what it did where it was "
            f"exported: {listed(others)}; install the versions of "
            "requirements.lock"
        )
    return steps


def _steps(folder, predictor):
    """Returns the steps by name: functions of what was recorded."""
    find = landmarks.load(predictor.treatment.landmarks)

    def aligned(done):
        pairs = zip(done["decode"], done["landmarks"], strict=True)
        crops, points = zip(*(alignment.align(*x) for x in pairs), strict=True)
        return np.stack(crops), np.stack(points)

    def network(done):
        _, points = aligned(done)
        crops = predictor.as_learned(done["crop"])
        inputs = {"frames": crops, "landmarks": points}
        inputs["mask"] = np.ones(len(points), bool)
        return predictor.predict({k: x[None] for k, x in inputs.items()})[0]

    steps = {
        "decode": lambda done: np.stack(
            [frame for _, frame in Video(folder / CLIP)]
        ),
        "landmarks": lambda done: np.stack(
            [find(frame, done["box"]) for frame in done["decode"]]
        ),
        "crop": lambda done: aligned(done)[0],
        "network": network,
    }
    return {name: steps[name] for name in _STEPS}


def _difference(found, recorded):
    if found.shape != recorded.shape:
        return float("inf")
    return float(np.abs(found.astype(float) - recorded).max())
