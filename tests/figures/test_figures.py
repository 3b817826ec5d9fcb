"""Looks at pictures as far as a program can: text, colours, what is drawn."""

import itertools

import numpy as np
import pytest

from affwild_omg import figures as drawing
from affwild_omg.figures import canvas
from affwild_omg.scoring import breakdown as insight

TARGETS = ("valence", "arousal")


@pytest.fixture
def look(monkeypatch, tmp_path):
    """Draws a picture and returns its figure, with its text checked."""
    figures = []
    save = canvas.save

    def keep(figure, path, **how):
        save(figure, path, **how)
        figure.draw_without_rendering()  # its text, as it lies unsaved
        figures.append(figure)

    monkeypatch.setattr(canvas, "save", keep)

    def draw(function, *args, **kwargs):
        path = tmp_path / "picture.png"
        function(path, *args, **kwargs)
        assert path.read_bytes().startswith(b"\x89PNG")
        check_text(figures[-1])
        return figures[-1]

    return draw


def check_text(figure):
    """Holds that no text is cut off, or written over another."""
    boxes = []
    for text in figure.findobj(lambda x: hasattr(x, "get_text")):
        # Tick labels outside the axes are there, but not drawn.
        drawn = text.get_visible() and text.get_text().strip()
        if drawn and text in shown(figure):
            boxes.append((text.get_text(), text.get_window_extent()))
    assert boxes
    for name, box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1, f"{name!r} is cut off"
        assert box.x1 <= figure.bbox.x1 + 1, f"{name!r} is cut off"
        assert box.y1 <= figure.bbox.y1 + 1, f"{name!r} is cut off"
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        # Boxes are a little higher than their letters.
        assert width <= 0 or height <= 2, f"{one!r} lies over {other!r}"


def shown(figure):
    texts = {*figure.texts}
    for legend in figure.legends:
        texts.update(legend.get_texts())
    for axis in figure.axes:
        texts |= {axis.title, axis._left_title, *axis.texts}
        if axis.get_legend():
            texts.update(axis.get_legend().get_texts())
        for side, limits in (
            (axis.xaxis, axis.get_xlim()),
            (axis.yaxis, axis.get_ylim()),
        ):
            texts.add(side.label)
            low, high = sorted(limits)
            texts |= {
                tick.label1
                for tick in side.get_major_ticks()
                if tick.label1.get_visible()
                and low - 1e-9 <= tick.get_loc() <= high + 1e-9
            }
    return texts


def values(count, seed=0):
    """Returns labels and predictions [count, 2]."""
    random = np.random.default_rng(seed)
    labels = random.uniform([-1, 0], 1, (count, 2))
    return labels, 0.5 * labels + random.normal(0, 0.2, (count, 2))


@pytest.mark.parametrize("count", [1, 2, 112, 2229])
@pytest.mark.parametrize("targets", [TARGETS, ("arousal",)])
def test_agreement_at_any_size(look, count, targets):
    labels, predictions = (x[:, -len(targets) :] for x in values(count))
    scores = {target: {"ccc": -0.123} for target in targets}
    look(drawing.scatter, labels, predictions, targets, scores)
    look(drawing.distributions, labels, predictions, targets)
    look(drawing.calibration, insight.calibration(labels, predictions, targets))
    look(drawing.reliability, insight.reliability(labels, predictions, targets))
    if targets == TARGETS:
        look(drawing.plane_histograms, labels, predictions)


def test_counts_of_the_plane(look, tmp_path):
    labels = np.array([[-0.9, 0.1], [-0.9, 0.1], [-0.9, 0.1], [0.9, 0.9]])
    predictions = np.array([[0.9, 0.9], [0.9, 0.9], [0.9, 0.1], [1.5, 0.9]])
    rows = drawing.plane_histograms(tmp_path / "x.png", labels, predictions)
    # Three bins a side, and valence goes to the 1.5 that was predicted.
    assert [(row["of"], row["utterances"]) for row in rows] == [
        ("labels", 3),
        ("labels", 1),
        ("predictions", 1),
        ("predictions", 3),
    ]
    assert rows[0] == pytest.approx(
        {
            "of": "labels",
            "valence_low": -1,
            "valence_high": -1 + 2.5 / 3,
            "arousal_low": 0,
            "arousal_high": 1 / 3,
            "utterances": 3,
        }
    )
    figure = look(drawing.plane_histograms, labels, predictions)
    *panels, bar = figure.axes
    # White is none, and the bar tells the whole numbers from one on.
    assert bar.get_ylim() == (1, 3)
    assert bar.get_yticks().tolist() == [1, 2, 3]
    for panel in panels:
        picture = panel.images[0].get_array()
        assert picture.mask.sum() == 7
        assert picture.compressed().min() == 1


def test_counts_of_the_distributions(tmp_path):
    nan = np.nan
    rows = drawing.distributions(
        tmp_path / "x.png",
        np.array([[0.05], [nan], [1.0], [nan]]),
        np.array([[0.05], [0.95], [1.0], [0.3]]),
        ("arousal",),
    )
    assert len(rows) == 6  # twice the 3 of a plane's side
    assert [row["labels"] for row in rows] == [1, 0, 0, 0, 0, 1]
    assert [row["predictions"] for row in rows] == [1, 1, 0, 0, 0, 2]
    assert rows[0]["low"] == 0 and rows[-1]["high"] == 1


def group(name, count, **changes):
    return {
        "group": name,
        "utterances": count,
        "valence_ccc": 0.25,
        "valence_ccc_low": 0.125,
        "valence_ccc_high": 0.5,
        "valence_mse": 0.02,
        "arousal_ccc": -0.25,
        "arousal_ccc_low": None,
        "arousal_ccc_high": None,
        "arousal_mse": 0.04,
    } | changes


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("targets", [TARGETS, ("arousal",)])
def test_groups_at_any_size(look, count, targets):
    rows = [group(f"{i} to {i + 1} s", 1000 * i + 1) for i in range(count)]
    figure = look(drawing.groups, rows, targets)
    names = [x.get_text() for x in figure.axes[0].get_yticklabels()]
    assert names[0] == "0 to 1 s\n1 utterance"
    if count > 1:
        assert names[1] == "1 to 2 s\n1,001 utterances"
    # One line of points a target, and a whisker where there is an interval.
    whiskers = [
        x for x in figure.axes[0].lines if list(x.get_xdata()) == [0.125, 0.5]
    ]
    assert len(whiskers) == count * ("valence" in targets)


@pytest.mark.parametrize(
    ("count", "named"), [(1, 1), (2, 2), (30, 30), (204, 25)]
)
def test_videos_at_any_number(look, count, named):
    rows = [
        group(f"video_{i:03}", 9, valence_mse=1 - i / count)
        for i in range(count)
    ]
    figure = look(drawing.videos, rows, TARGETS)
    axis = figure.axes[0]
    names = [x.get_text() for x in axis.get_yticklabels()]
    assert len(names) == named
    assert names[0] == "video_000 (9)"
    assert names[-1] == f"video_{count - 1:03} (9)"
    assert axis.lines[0].get_xdata()[-1] == rows[-1]["valence_mse"]
    between = [text.get_text() for text in axis.texts]
    assert between == ["… 179 videos between …"] * (count == 204)


def test_names_of_any_kind(look):
    rows = [group("$x^2$ " + "long" * 30, 1), group("a\\b_{c}", 2)]
    look(drawing.groups, rows, TARGETS)
    look(drawing.videos, rows, TARGETS)


def test_long_names_are_cut_in_the_middle():
    assert canvas.shorten("abcdefgh", 8) == "abcdefgh"
    assert canvas.shorten("abcdefghi", 8) == "abc…fghi"
    assert len(canvas.shorten("x" * 100, 9)) == 9


def course(frames, name="video/utterance_1.mp4"):
    seen = np.arange(frames) % 7 != 3
    course_ = np.linspace(-0.5, 1.2, frames)
    return {
        "title": name,
        "times": np.arange(frames) / 25,
        "values": np.where(seen, course_, np.nan)[:, None].repeat(2, 1),
        "sequences": (np.array([0, frames / 25]), np.array([[0.3, 0.4]])),
        "estimate": np.array([0.2, 0.3]),
        "truth": np.full((frames, 2), 0.5),
    }


@pytest.mark.parametrize("count", [1, 2, 12])
def test_timelines_at_any_number(look, count):
    courses = [course(1 + 150 * i) for i in range(count)]
    courses[0]["title"] = "$" * 200
    figure = look(drawing.timelines, courses, TARGETS, estimate="median")
    assert len(figure.axes) == 2 * count


def test_a_truth_that_varies_is_drawn_as_it_does(look):
    moving = course(50)
    moving["truth"] = np.linspace(0, 1, 100).reshape(50, 2)
    figure = look(drawing.timelines, [moving], TARGETS, estimate="mean")
    drawn = [x for x in figure.axes[1].lines if x.get_color() == "black"]
    np.testing.assert_array_equal(drawn[0].get_ydata(), moving["truth"][:, 1])


def test_the_timeline_of_a_video(look):
    random = np.random.default_rng(0)
    found = random.normal(0, 0.2, (300, 2))
    found[40:90] = np.nan
    look(
        drawing.timeline,
        np.arange(300) / 25,
        found,
        TARGETS,
        window=80,
        title="clip.mp4",
    )


@pytest.mark.parametrize("count", [1, 2, 100])
def test_a_training_of_any_length(look, count):
    epochs = [
        {"epoch": i, "loss": 1 / i, "valence_ccc": 0.1, "mean_ccc": 0.1}
        for i in range(1, count + 1)
    ]
    figure = look(drawing.training, epochs, count)
    marks = [
        x for x in figure.axes[1].lines if list(x.get_xdata()) == [count] * 2
    ]
    assert len(marks) == 1


def test_a_contact_sheet_shows_its_crops(tmp_path, look):
    red = np.zeros((3, 96, 96, 3), np.uint8)
    red[..., 0] = 248
    rows = [
        ("one\ntrue 0", red, np.array([True, False, True])),
        ("two\ntrue 1", red[:1], np.array([True])),
    ]
    look(drawing.contact_sheet, rows, columns=8)
    from matplotlib.image import imread

    picture = imread(tmp_path / "picture.png")[..., :3]
    # Each crop keeps its pixels: three of them are red.
    painted = np.abs(picture - np.array([248, 0, 0]) / 255).max(-1) < 0.01
    assert painted.sum() == pytest.approx(3 * 96 * 96, rel=0.03)
    assert painted[:, 102 : 2 * 102].sum() == 0  # the frame without a face
