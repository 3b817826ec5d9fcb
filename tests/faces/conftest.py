"""Real detectors, loaded once."""

import pytest

from affwild_omg.faces.detection import Detector
from affwild_omg.faces.landmarks import Landmarker


@pytest.fixture(scope="session")
def detector():
    return Detector()


@pytest.fixture(scope="session")
def landmarker():
    return Landmarker()
