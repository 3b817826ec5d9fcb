"""Faces made by hand, whose blur, size and turn are known."""

import dataclasses

import cv2
import numpy as np
import pytest

from affwild_omg.faces import alignment, quality, tracking
from affwild_omg.faces.views import Face
from tests.faces.test_alignment import landmarks_of, photographed


def face(sigma=0.0, side=100.0, yaw=0, confidence=0.9):
    """Makes a face of grey squares that is blurred by so many pixels."""
    squares = np.random.default_rng(0).integers(0, 256, (16, 16, 1), np.uint8)
    crop = squares.repeat(3, axis=2).repeat(6, axis=0).repeat(6, axis=1)
    if sigma:
        crop = cv2.GaussianBlur(crop, (0, 0), sigma)
    points = landmarks_of(photographed(yaw, 0))
    box = (0.0, 0.0, side, side)
    return Face(True, box, confidence, crop, points.astype(np.float32))


def crete(grey, size=11):
    """Computes the blur effect by the paper's sums, along each axis."""
    found = []
    for image in (grey.astype(float), grey.T.astype(float)):
        soft = cv2.blur(image, (1, size))
        sharp, rest = (np.abs(np.diff(x, axis=0)) for x in (image, soft))
        lost = np.maximum(0, sharp - rest)
        found.append(1 - lost.sum() / sharp.sum())
    return max(found)


@pytest.mark.parametrize("sigma", [0, 1, 2, 4])
def test_blur_is_near_the_papers_sums(sigma):
    """They differ by the operator of the gradient alone."""
    seen = face(sigma)
    grey = cv2.cvtColor(seen.crop, cv2.COLOR_RGB2GRAY)[20:88, 18:78]
    found = quality.measure_face(seen)
    assert found.blur == pytest.approx(crete(grey), abs=0.08)


@pytest.mark.parametrize(
    ("changes", "value", "reason"),
    [
        ({}, 0.9, ""),
        ({"confidence": 0.4}, 0.4, "unsure"),
        ({"side": 38.5}, 38.5 / 76, ""),
        ({"side": 19.0}, 0.25, "small"),
        ({"yaw": 65}, np.cos(np.deg2rad(65)), "turned"),
        ({"yaw": -70, "side": 30.0}, np.cos(np.deg2rad(70)), "small; turned"),
    ],
)
def test_the_poorest_part_decides(changes, value, reason):
    found = quality.measure_face(face(**changes))
    turned = bool(changes.get("yaw"))
    assert found.value == pytest.approx(value, abs=0.1 if turned else 1e-6)
    assert found.reason == reason


def test_blur_is_a_part():
    found = quality.measure_face(face(sigma=4))
    assert found.blur > 0.6
    assert found.value == pytest.approx((0.8 - found.blur) / 0.4, abs=1e-9)
    assert found.reason == "blurred"
    flat = dataclasses.replace(face(), crop=np.zeros((96, 96, 3), np.uint8))
    assert quality.measure_face(flat).blur == 1
    assert quality.measure_face(flat).value == 0


@pytest.mark.parametrize("degrees", [0, 25, -40])
def test_landmarks_go_back_to_where_they_were(degrees):
    frame = np.zeros((240, 320, 3), np.uint8)
    template = np.random.default_rng(1).uniform(20, 76, (68, 2))
    template[36:42], template[42:48] = alignment.TEMPLATE_ANCHORS[:2]
    template[[30, 48, 54]] = alignment.TEMPLATE_ANCHORS[2:]
    angle = np.deg2rad(degrees)
    turned = 1.3 * np.array(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    )
    points = template @ turned + (90, 60)
    seen = tracking._look(frame, (0, 0, 9, 9), lambda *_: points)
    assert seen.roll == pytest.approx(degrees)
    np.testing.assert_allclose(
        tracking.landmarks_in_frame(seen), points, atol=1e-3
    )
