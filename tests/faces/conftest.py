"""Real detectors, loaded once, and the real clips where they are present."""

import os
import pathlib

import pytest

from affwild_omg.faces.detection import Detector
from affwild_omg.faces.landmarks import Landmarker

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def detector():
    return Detector()


@pytest.fixture(scope="session")
def landmarker():
    return Landmarker()


@pytest.fixture(scope="session")
def clip():
    """Gives the path of a real clip by its name, or skips the test."""
    default = REPOSITORY.parent / "shared" / "data" / "faces"
    folder = pathlib.Path(os.environ.get("AFFWILD_OMG_FACES", default))

    def path_of(name):
        path = folder / name
        if not path.exists():
            pytest.skip(
                f"the real clip {name} isn't here; AFFWILD_OMG_FACES names "
                "the folder that holds it"
            )
        return path

    return path_of
