"""Whether what is drawn shows what is acted, as dlib sees it."""

import dataclasses

import cv2
import dlib
import numpy as np
import pytest

from affwild_omg.faces.landmarks import Landmarker
from affwild_omg.synthetic import acting, faces, plan, portrait

MOUTH_CORNERS, BROWS, BRIDGE = [48, 54], [18, 19, 20, 23, 24, 25], range(27, 31)
UPPER_LIP, LOWER_LIP = [61, 62, 63], [67, 66, 65]


@pytest.fixture(scope="module")
def portraits():
    return portrait.load_portraits()


@pytest.fixture(scope="module")
def find():
    """Returns a function: landmarks [68, 2] of a picture's largest face."""
    detector, landmarker = dlib.get_frontal_face_detector(), Landmarker()

    def find(picture):
        box = max(detector(picture), key=lambda box: box.area())
        place = box.left(), box.top(), box.width(), box.height()
        return landmarker(picture, place)

    return find


@pytest.fixture(scope="module")
def person(portraits):
    looks = faces.draw_looks(np.random.default_rng(1), blend=0.2)
    looks.mirrored, looks.body = False, 0
    return faces.Person(portraits, looks)


@pytest.fixture(scope="module")
def seen(person, find):
    """Returns a function: landmarks in units [68, 2], found in a pose."""

    def seen(**given):
        return find(person.render(pose(**given))) / person.unit

    return seen


def pose(**given):
    actions = np.zeros(len(faces.ACTIONS))
    for name in set(given) & set(faces.ACTIONS):
        actions[faces.ACTIONS.index(name)] = given.pop(name)
    return faces.Pose(actions=actions, **given)


def test_the_portraits_landmarks_lie_where_dlib_finds_them(portraits, find):
    for known in portraits:
        found = find(cv2.resize(known.image, None, fx=2, fy=2))
        # A picture of twice the size: its pixels' centres lie elsewhere.
        distance = np.abs((found + 0.5) / 2 - 0.5 - known.landmarks)
        assert distance.mean() < 2


def test_a_face_is_drawn_where_its_landmarks_say(person, seen):
    expected = (person.points - faces.MARGIN) / person.unit
    assert np.abs(seen() - expected).mean() < 0.04


def test_valence_moves_the_corners_of_the_mouth(seen):
    still, smile, frown = seen(), seen(smile=1.0), seen(frown=1.0)

    def drop(face):
        moved = (face - still)[:, 1]
        return moved[MOUTH_CORNERS].mean() - moved[BRIDGE].mean()

    # 0.17 up and 0.15 down were told; dlib's idea of a face holds it back.
    assert -0.2 < drop(smile) < -0.08
    assert 0.08 < drop(frown) < 0.2


def test_arousal_raises_the_brows(seen):
    raised = (seen(**{"raise": 1.0}) - seen())[:, 1]
    assert -0.2 < raised[BROWS].mean() < -0.05


def test_the_mouth_opens_as_told(seen):
    def gap(face):
        return (face[LOWER_LIP] - face[UPPER_LIP])[:, 1].mean()

    assert gap(seen(gape=0.35)) - gap(seen()) == pytest.approx(0.3, abs=0.08)


def test_the_head_goes_where_it_is_told(seen):
    moved = (seen(shift=(0.3, -0.2)) - seen()).mean(0)
    assert moved == pytest.approx([0.3, -0.2], abs=0.04)

    def angle(face):
        across = face[42:48].mean(0) - face[36:42].mean(0)
        return np.arctan2(across[1], across[0])

    turned = angle(seen(roll=0.15)) - angle(seen())
    assert turned == pytest.approx(0.15, abs=0.03)


def test_lids_cover_the_eye(person, seen):
    def opening(face):
        return (face[[40, 41, 46, 47]] - face[[38, 37, 44, 43]])[:, 1].mean()

    assert opening(seen(lids=1.0)) < opening(seen()) - 0.03
    still, closed = person.render(pose()), person.render(pose(lids=1.0))
    changed = np.abs(closed.astype(int) - still).max(-1) > 8
    rows = np.flatnonzero(changed.any(1)) + faces.MARGIN
    assert abs(rows.mean() - person.points[36:48, 1].mean()) < 10
    assert np.ptp(rows) < 0.6 * person.unit


def test_arousal_shows_in_pace_more_than_in_a_still():
    rng = np.random.default_rng(0)
    utterance = plan.plan_corpus()[0].utterances[0]
    gapes = np.zeros((2, 200, 30))
    for level, arousal in enumerate((0.2, 0.8)):
        told = dataclasses.replace(
            utterance, frames=30, true_arousal=arousal, true_valence=0.0
        )
        for i in range(200):
            poses = acting.act(rng, told, acting.draw_habits(rng))
            gapes[level, i] = [pose.gape for pose in poses]
    pace = np.abs(np.diff(gapes)).mean(-1)
    # Turns of the jaw, whatever its extent.
    beat = (np.diff(np.sign(np.diff(gapes))) != 0).sum(-1)

    def chance(calm, roused):
        """Of telling the roused one of two."""
        return (roused[:, None] > calm[None]).mean()

    assert chance(*pace) > 0.97 and chance(*beat) > 0.97
    assert 0.4 < chance(*gapes[..., 15]) < 0.76
