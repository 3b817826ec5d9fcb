"""Real detectors, loaded once."""

import pytest

from affwild_omg.faces.detection import Detector
from affwild_omg.faces.landmarks import Landmarker


@pytest.fixture(scope="session")
def detector(tf):  # whose devices must be set before anything uses TensorFlow
    return Detector()


@pytest.fixture(scope="session")
def landmarker():
    return Landmarker()
