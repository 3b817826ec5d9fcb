"""Files for other tools, read as these read them."""

import pathlib
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.faces.views import Face
from affwild_omg.inference import formats
from affwild_omg.inference.course import Course
from affwild_omg.inference.moments import Moment
from affwild_omg.inference.options import PredictionOptions

TARGETS = ("valence", "arousal")
FILM = pathlib.Path("films/my film.mp4")


def moment(number, values, reason="nobody"):
    """Makes a moment of faces {track: (valence, arousal)}."""
    face = Face(
        True,
        (10.0, 20.0, 76.0, 76.0),
        0.5,
        np.zeros((96, 96, 3), np.uint8),
        np.tile(np.float32([47.5, 47.5]), (68, 1)),
    )
    return Moment(
        number=number,
        time_s=number / 4,
        faces=dict.fromkeys(values, face),
        values={track: np.float32(x) for track, x in values.items()},
        reason=reason,
    )


def written(kind, path, moments, targets=TARGETS):
    with kind(path, FILM, targets) as writer:
        for one in moments:
            writer.add(one)
    return path


def test_fex_has_what_py_feat_asks_for(tmp_path):
    path = written(
        formats.Fex,
        tmp_path / "a.csv",
        [moment(0, {1: (0.1, 0.2), 2: (-0.3, 0.4)}), moment(1, {})],
    )
    table = pd.read_csv(path)  # all that read_feat does
    # By the names in feat/utils/__init__.py of py-feat 0.6.
    assert table[["frame"]].values.tolist() == [[0], [0], [1]]
    boxes = table[
        [f"FaceRect{x}" for x in ("X", "Y", "Width", "Height")] + ["FaceScore"]
    ]
    assert boxes.values[:2].tolist() == [[10, 20, 76, 76, 0.5]] * 2
    assert boxes.loc[2].isna().all()
    points = table[
        [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    ].to_numpy()
    # The crop's middle is the middle of the box, less half a pixel.
    assert points[0].tolist() == [47.5] * 68 + [57.5] * 68
    emotions = ["anger", "disgust", "fear", "happiness", "sadness"]
    assert table[[*emotions, "surprise", "neutral"]].isna().all(axis=None)
    assert table["Identity"].tolist()[:2] == ["Person_1", "Person_2"]
    assert table["input"].tolist() == [str(FILM)] * 3
    assert table["valence"].tolist()[:2] == [0.1, -0.3]
    assert not [name for name in table if "AU" in name]


@pytest.fixture
def gaps():
    """Two frames without anyone, one of another, one beyond the range."""
    return [
        moment(0, {}),
        moment(1, {}),
        moment(2, {1: (0.5, -0.25)}),
        moment(3, {2: (0.9, 0.9)}),
        moment(4, {1: (-1.5, 0.75), 2: (0.9, 0.9)}),
        moment(5, {}),
    ]


def test_abaw_answers_every_frame(tmp_path, gaps, caplog):
    caplog.set_level("INFO", logger="absl")
    with caplog.at_level("INFO"):
        path = written(formats.Abaw, tmp_path / "a.txt", gaps)
    assert path.read_text().splitlines() == [
        "image_location,valence,arousal",
        "my film/00001.jpg,0.500000,-0.250000",
        "my film/00002.jpg,0.500000,-0.250000",
        "my film/00003.jpg,0.500000,-0.250000",
        "my film/00004.jpg,0.500000,-0.250000",
        "my film/00005.jpg,-1.000000,0.750000",
        "my film/00006.jpg,-1.000000,0.750000",
    ]
    assert caplog.messages == [
        "a.txt: of 6 frames, 4 without the main person hold the last values, "
        "1 were beyond [-1, 1]"
    ]
    assert formats.check_abaw(path, {"my film": 6}) == 6
    assert formats.check_abaw(path, path) == 6
    swapped = written(
        formats.Abaw,
        tmp_path / "b.txt",
        [moment(0, {1: (0.5, -0.25)})],
        TARGETS[::-1],
    )
    assert swapped.read_text().endswith("1.jpg,-0.250000,0.500000\n")


def test_abaw_holds_over_frames_that_the_film_has_lost(tmp_path):
    seen = [moment(1, {1: (0.5, 0.25)}), moment(4, {1: (-0.5, 0.75)})]
    path = written(formats.Abaw, tmp_path / "a.txt", seen)
    assert path.read_text().splitlines()[1:] == [
        *(f"my film/0000{i}.jpg,0.500000,0.250000" for i in range(1, 5)),
        "my film/00005.jpg,-0.500000,0.750000",
    ]


def test_abaw_without_any_face_is_zero(tmp_path):
    nobody = [moment(0, {}), moment(1, {})]
    path = written(formats.Abaw, tmp_path / "a.txt", nobody)
    assert path.read_text().splitlines()[1:] == [
        f"my film/0000{i}.jpg,0.000000,0.000000" for i in (1, 2)
    ]


def test_a_film_may_have_commas_in_its_name(tmp_path, gaps):
    path = written(formats.Abaw, tmp_path / "a.txt", gaps)
    path.write_text(path.read_text().replace("my film", "a, b"))
    assert formats.check_abaw(path, {"a, b": 6}) == 6


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("image_location,", ""), "line 1: the header must be image_"),
        (("film/00003", "film/00004"), "line 4: my film/00003.jpg,<valence>"),
        (
            ("my film/00003.jpg,0.500000,-0.250000\n", ""),
            "line 4: my film/00003",
        ),
        (
            ("my film/00006.jpg,-1.000000,0.750000\n", ""),
            "ends before my film/00006",
        ),
        (("-1.000000", "-1.000001"), "line 6: '-1.000001' is not a number"),
        (("-1.000000", "nan"), "line 6: 'nan' is not a number"),
        (("-1.000000", ""), "line 6: '' is not a number"),
        (("-1.000000", "-1,0"), "line 6: my film/00005.jpg,<valence>"),
        (("0.750000\n", "0.750000\nmy film/00007.jpg,0,0\n"), "line 7"),
    ],
)
def test_a_wrong_submission_is_told(tmp_path, gaps, change, word):
    path = written(formats.Abaw, tmp_path / "a.txt", gaps)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(UserError, match=word):
        formats.check_abaw(path, {"my film": 6})


def test_elan_has_a_mean_for_each_second(tmp_path):
    course = Course(TARGETS)
    for number in range(10):  # 4 a second
        seen = {1: (number / 10, 0.0)} if number not in (4, 5, 6, 7) else {}
        course.add(
            moment(number, seen | ({2: (0.2, 0.4)} if number == 5 else {}))
        )
    path = tmp_path / "a.eaf"
    film = tmp_path / "a film.mkv"
    formats.write_elan(path, course, film, TARGETS)
    root = ElementTree.parse(path).getroot()
    assert [x.tag for x in root] == [
        *("HEADER", "TIME_ORDER", *["TIER"] * 4, "LINGUISTIC_TYPE"),
    ]
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media.get("MEDIA_URL") == f"file://{tmp_path}/a%20film.mkv"
    slots = [
        (x.get("TIME_SLOT_ID"), int(x.get("TIME_VALUE")))
        for x in root.find("TIME_ORDER")
    ]
    assert [time for _, time in slots] == sorted(time for _, time in slots)
    times = dict(slots)
    assert len(times) == len(slots)
    found, ids = {}, []
    for tier in root.iter("TIER"):
        assert tier.get("LINGUISTIC_TYPE_REF") == "value"
        found[tier.get("TIER_ID")] = [
            (
                times[x.get("TIME_SLOT_REF1")],
                times[x.get("TIME_SLOT_REF2")],
                x.find("ANNOTATION_VALUE").text,
            )
            for x in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        ids += [
            x.get("ANNOTATION_ID") for x in tier.iter("ALIGNABLE_ANNOTATION")
        ]
    # The mean of 0, 0.1, 0.2, 0.3, then nothing, then of 0.8 and 0.9.
    assert found["valence_1"] == [(0, 1000, "0.150"), (2000, 2251, "0.850")]
    assert found["arousal_2"] == [(1000, 2000, "0.400")]
    assert len(set(ids)) == len(ids) == 6


def test_one_person_has_tiers_without_a_number(tmp_path):
    course = Course(("valence",))
    course.add(moment(0, {1: (0.5,)}))
    path = tmp_path / "a.eaf"
    formats.write_elan(path, course, FILM, ("valence",))
    (tier,) = ElementTree.parse(path).getroot().iter("TIER")
    assert tier.get("TIER_ID") == "valence"


def test_an_unknown_format_is_told():
    with pytest.raises(UserError, match="--format must be some of elan, fex"):
        PredictionOptions(model="m", video="v", output="o", format=["x"])
