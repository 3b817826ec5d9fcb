"""Checks text, colours and what is drawn; a person must do the rest."""

import itertools
import types

import numpy as np
import pytest
from matplotlib import colors, image

from affwild_omg import figures as drawing
from affwild_omg.figures import canvas

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
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in shown(figure)
        if text.get_visible() and text.get_text().strip()
    ]
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
    """Returns all text but tick labels outside the axes, not drawn."""
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


@pytest.mark.parametrize("count", [1, 2229])
@pytest.mark.parametrize("targets", [TARGETS, ("arousal",)])
def test_agreement_at_any_size(look, count, targets):
    labels, predictions = (x[:, -len(targets) :] for x in values(count))
    cccs = dict.fromkeys(targets, -0.123)
    figure = look(drawing.scatter, labels, predictions, targets, cccs)
    title = figure.axes[-1].get_title()
    utterances = {1: "1 utterance", 2229: "2,229 utterances"}[count]
    assert title == f"arousal: CCC -0.123\n{utterances}, pooled"
    points = figure.axes[-1].collections[0].get_offsets()
    np.testing.assert_array_equal(points[:, 0], labels[:, -1])
    np.testing.assert_array_equal(points[:, 1], predictions[:, -1])
    if targets == TARGETS:
        look(drawing.plane_histograms, labels, predictions)


def test_agreement_where_labels_are_missing(look):
    labels, predictions = values(5)
    labels[:, 0] = labels[[1, 3], 1] = np.nan
    figure = look(
        drawing.scatter, labels, predictions, TARGETS, {"arousal": 0.5}
    )
    assert [axis.get_title() for axis in figure.axes] == [
        "valence: CCC -\n0 utterances, pooled",
        "arousal: CCC 0.500\n3 utterances, pooled",
    ]


@pytest.mark.parametrize("count", [0, 1, 12_000])
def test_labels_of_the_splits_lie_in_their_planes(look, count):
    train = np.random.default_rng(0).uniform([-1, -0.5], 1, (count, 2))
    gaps = np.array([[np.nan, np.nan], [-0.95, 0.5], [-0.95, 0.5], [1, 0]])
    labels = {"train": train, "validation": gaps, "test": gaps[:1]}
    figure = look(drawing.label_planes, labels)
    above, below = figure.axes[:3], figure.axes[3:6]
    assert [axis.get_title() for axis in above] == [
        f"train: {count:,} label" + "s" * (count != 1),
        "validation: 3 labels",
        "test: 0 labels",
    ]
    counts = [axis.collections[0].get_array().filled(0) for axis in above]
    assert [array.sum() for array in counts] == [count, 3, 0]
    # Arousal goes from bottom to top, valence from left to right.
    low = min([0, *train[:, 1]])
    row = int((0.5 - low) / (1 - low) * 20)
    assert counts[1][row, 0] == 2 and counts[1].max() == 2
    shown = [len(axis.collections[0].get_offsets()) for axis in below]
    assert shown == [min(count, 4000), 3, 0]


def test_counts_of_the_plane(look):
    labels = np.array([[-0.9, 0.1], [-0.9, 0.1], [-0.9, 0.1], [0.9, 0.9]])
    predictions = np.array([[0.9, 0.9], [0.9, 0.9], [0.9, 0.1], [1.5, 0.9]])
    figure = look(drawing.plane_histograms, labels, predictions)
    *panels, bar = figure.axes
    # White is none, and the bar tells the whole numbers from one on.
    assert bar.get_ylim() == (1, 3)
    assert bar.get_yticks().tolist() == [1, 2, 3]
    # Three bins a side, and valence goes to the 1.5 that was predicted.
    for panel, counts in zip(
        panels,
        ([[3, 0, 0], [0, 0, 0], [0, 0, 1]], [[0, 0, 1], [0, 0, 0], [0, 0, 3]]),
        strict=True,
    ):
        found = panel.collections[0].get_array()
        assert found.filled(0).tolist() == counts
        assert found.mask.tolist() == np.equal(counts, 0).tolist()
        assert (*panel.get_xlim(), *panel.get_ylim()) == (-1, 1.5, 0, 1)


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("targets", [TARGETS, ("arousal",)])
def test_groups_at_any_size(look, count, targets):
    names = [f"{i} to {i + 1} s\n{i} utterances" for i in range(count)]
    scores = dict.fromkeys(targets, types.SimpleNamespace(ccc=0.25, mse=0.02))
    ends = types.SimpleNamespace(low=0.125, high=0.5)
    intervals = {"valence": ends, "arousal": None}
    figure = look(
        drawing.groups, names, [scores] * count, [intervals] * count, targets
    )
    assert [x.get_text() for x in figure.axes[0].get_yticklabels()] == names
    lines = figure.axes[0].lines
    points = [x for x in lines if list(x.get_xdata()) == [0.25] * count]
    assert len(points) == len(targets)
    # A whisker through each point that has an interval.
    whiskers = [x for x in lines if list(x.get_xdata()) == [0.125, 0.5]]
    places = [y for line in whiskers for y in line.get_ydata()]
    expected = points[0].get_ydata().repeat(2) if "valence" in targets else []
    assert places == list(expected)
    drawn = [list(x.get_xdata()) for x in figure.axes[1].lines]
    assert drawn.count([0.02] * count) == len(targets)


def test_names_of_any_kind_and_a_group_without_a_target(look):
    names = ["$x^2$ " + "long" * 30, "a\\b_{c}"]
    score = types.SimpleNamespace(ccc=-0.25, mse=0.02)
    scores = [{"arousal": score}, dict.fromkeys(TARGETS, score)]
    figure = look(drawing.groups, names, scores, [{}] * 2, TARGETS)
    valence, arousal, *_ = (line.get_xdata() for line in figure.axes[0].lines)
    np.testing.assert_array_equal(valence, [np.nan, -0.25])
    np.testing.assert_array_equal(arousal, [-0.25, -0.25])


def test_long_names_are_cut_in_the_middle():
    assert canvas.shorten("abcdefgh", 8) == "abcdefgh"
    assert canvas.shorten("abcdefghi", 8) == "abc…fghi"
    assert len(canvas.shorten("x" * 100, 9)) == 9


def course(frames, **changes):
    seen = np.arange(frames) % 7 != 3
    rising = np.linspace(-0.5, 1.2, frames)
    fields = {
        "title": "video/utterance_1.mp4",
        "times": np.arange(frames) / 25,
        "values": np.where(seen, rising, np.nan)[:, None].repeat(2, 1),
        "truth": np.full((frames, 2), 0.5),
        "edges": np.array([0, frames / 25]),
        "sequences": np.array([[0.3, 0.4]]),
        "estimate": np.array([0.2, 0.3]),
    }
    return drawing.Course(**(fields | changes))


@pytest.mark.parametrize("count", [1, 3])
def test_timelines_at_any_number(look, count):
    courses = [course(1 + 150 * i) for i in range(count)]
    courses[0] = course(1, title="$" * 200)
    figure = look(drawing.timelines, courses, TARGETS, estimate="median")
    assert len(figure.axes) == 2 * count


def test_what_a_timeline_shows(look):
    truth = np.linspace(0, 1, 100).reshape(50, 2)
    truth[10:30] = np.nan
    figure = look(
        drawing.timelines, [course(50, truth=truth)], TARGETS, estimate="mean"
    )
    axis = figure.axes[1]
    black = [x for x in axis.patches if x.get_edgecolor() == (0, 0, 0, 1)]
    (drawn,) = (x.get_data() for x in black)
    # The last label reaches the edge.
    np.testing.assert_array_equal(drawn.values, truth[:, 1])
    assert drawn.edges[[0, -1]].tolist() == [0, 2]
    (estimate,) = (x for x in axis.lines if x.get_linestyle() == "--")
    assert set(estimate.get_ydata()) == {0.3}
    # Frames 3, 10, ..., 45 have no face.
    grey = [x for x in axis.patches if x.get_facecolor()[:3] == (0.88,) * 3]
    (shade,) = (x.get_data() for x in grey)
    assert np.flatnonzero(shade.values).tolist() == list(range(3, 50, 7))
    assert shade.edges == pytest.approx(np.arange(51) / 25)


def test_the_timeline_of_a_video(look):
    random = np.random.default_rng(0)
    found = random.normal(0, 0.2, (300, 2))
    found[40:90] = np.nan
    times = np.arange(300) / 25
    figure = look(
        drawing.timeline,
        *(times, found, TARGETS),
        window=80,
        tail="pad",
        title="clip.mp4",
    )
    for axis, column in zip(figure.axes, found.T, strict=True):
        medians, _ = axis.patches
        parts = column[:40], column[90:160], column[160:240], column[240:]
        assert medians.get_data().values.tolist() == [
            np.median(part) for part in parts
        ]
        assert medians.get_data().edges == pytest.approx([0, 3.2, 6.4, 9.6, 12])


def test_windows_of_a_timeline_are_of_the_frames_that_the_network_saw(look):
    found = np.random.default_rng(0).normal(0, 0.2, (60, 2))
    figure = look(
        drawing.timeline,
        *(np.arange(60) / 50, found, TARGETS),
        window=20,
        tail="pad",
        title="clip.mp4",
        kept=np.arange(0, 60, 2),
    )
    for axis, column in zip(figure.axes, found.T, strict=True):
        shown = axis.patches[0].get_data()
        assert shown.values.tolist() == [
            np.median(part) for part in (column[:40], column[40:])
        ]
        assert shown.edges == pytest.approx([0, 0.8, 1.2])


def test_the_timeline_of_several_faces(look):
    found = np.random.default_rng(0).normal(0, 0.2, (3, 200, 2))
    found[2, :150] = np.nan
    times = np.arange(200) / 25
    figure = look(
        drawing.timeline,
        *(times, found, TARGETS),
        window=80,
        tail="pad",
        title="clip.mp4",
        tracks=(1, 2, 5),
    )
    assert [axis.get_ylabel() for axis in figure.axes] == [
        f"{target}, face {number}" for number in (1, 2, 5) for target in TARGETS
    ]
    columns = found.transpose(0, 2, 1).reshape(6, 200)
    for axis, column in zip(figure.axes, columns, strict=True):
        medians = axis.patches[0].get_data().values
        parts = [column[:80], column[80:160], column[160:]]
        expected = [
            np.nan if np.isnan(x).all() else np.nanmedian(x) for x in parts
        ]
        np.testing.assert_array_equal(medians, expected)


@pytest.mark.parametrize("count", [1, 100])
def test_a_training_of_any_length(look, count):
    epochs = range(1, count + 1)
    cccs = {"valence": [0.1] * count, "mean": [0.2] * count}
    figure = look(drawing.training, epochs, [0.5] * count, cccs, count)
    lower = figure.axes[1]
    marks = [x for x in lower.lines if list(x.get_xdata()) == [count] * 2]
    assert len(marks) == 1
    assert [x.get_ydata()[0] for x in lower.lines[:2]] == [0.1, 0.2]


def test_published_against_measured(look):
    score = {"value": 0.5, "low": 0.25, "high": 0.75, "min": None, "max": None}
    row = {"label": "CNN", "heading": "", "published": {"arousal": 0.375}}
    rows = [
        row | {"state": "measured", "measured": {"arousal": score}},
        row | {"state": "not run: no records"},
    ]
    figure = look(
        drawing.published_against_measured,
        rows,
        ["arousal"],
        title="Table 3",
        metric="CCC",
    )
    (axis,) = figure.axes
    names = [x.get_text() for x in axis.get_yticklabels()]
    assert names == ["CNN", "CNN\n(not run: no records)"]
    drawn = [list(x.get_xdata()) for x in axis.lines]
    assert drawn.count([0.375]) == 2
    assert drawn.count([0.5]) == drawn.count([0.25, 0.75]) == 1
    legend = [x.get_text() for x in figure.legends[0].get_texts()]
    assert legend == ["published", "measured arousal", "95% interval"]


def test_a_contact_sheet_shows_its_crops(tmp_path, look):
    red = np.zeros((3, 96, 96, 3), np.uint8)
    red[..., 0] = 248
    rows = [
        ("one\ntrue 0", red, np.array([True, False, True])),
        ("two\ntrue 1", red[:1], np.array([True])),
    ]
    look(drawing.contact_sheet, rows, columns=8)
    picture = image.imread(tmp_path / "picture.png")[..., :3]
    # Each crop keeps its pixels: three of them are red.
    painted = np.abs(picture - np.array([248, 0, 0]) / 255).max(-1) < 0.01
    assert painted.sum() == pytest.approx(3 * 96 * 96, rel=0.03)
    assert painted[:, 102 : 2 * 102].sum() == 0  # the frame without a face


def fill(sheet, found, lag=0):
    """Gives a sheet blue frames with a red face in a green crop, or none."""
    frame = np.zeros((600, 800, 3), np.uint8)
    frame[..., 2] = 200
    frame[150:450, 500:800, 0] = 240
    crop = np.zeros((96, 96, 3), np.uint8)
    crop[..., 1] = 200
    shown = {
        True: ((500, 150, 300, 300), 0.75, ""),
        False: ((0, 0, 0, 0), 0.0, "too dark"),
    }
    for index in range(len(found) + lag):
        if index < len(found):
            sheet.watch(index / 10, frame)
        if index >= lag:
            box, confidence, reason = shown[found[index - lag]]
            sheet.add(
                types.SimpleNamespace(
                    found=not reason,
                    box=box,
                    confidence=confidence,
                    crop=crop,
                    landmarks=np.full((68, 2), 47.5),
                    reason=reason,
                )
            )


@pytest.mark.parametrize(
    ("frames", "every"), [(1, 1), (24, 1), (25, 2), (48, 2), (49, 4)]
)
def test_a_face_sheet_fits_clips_of_any_length(frames, every):
    sheet = drawing.FaceSheet("clip", ())
    fill(sheet, [True] * frames, lag=7)
    assert sorted(sheet._cells) == list(range(0, frames, every))
    assert all(cell.face is not None for cell in sheet._cells.values())
    thumb = sheet._cells[0].thumb
    assert thumb.shape == (200, 266, 3)
    assert tuple(thumb[100, 200]) == (240, 0, 200)
    assert tuple(thumb[100, 100]) == (0, 0, 200)


def test_a_face_sheet_shows_what_was_found_and_why_not(look, tmp_path):
    sheet = drawing.FaceSheet("film.mp4", ("too bright", "too dark"))
    fill(sheet, [True] * 4 + [False] * 2)
    figure = look(sheet.write)
    strip, cells = figure.axes
    texts = [text.get_text() for text in cells.texts]
    assert texts[3:5] == ["0.30 s   confidence 0.75", "0.40 s   too dark"]
    legend = [text.get_text() for text in strip.get_legend().get_texts()]
    assert legend == ["face 4", "too dark 2"]
    # The colour of the second reason, although the first is not there.
    patch = strip.get_legend().get_patches()[1]
    assert patch.get_facecolor() == colors.to_rgba("tab:orange")
    assert figure.texts[0].get_text() == "film.mp4"
    # The box lies around the red face in the picture.
    picture = image.imread(tmp_path / "picture.png")[..., :3]
    red = np.abs(picture - np.array([240, 0, 200]) / 255).max(-1) < 0.02
    ys, xs = np.nonzero(red[:, :380])
    edge = cells.patches[0].get_bbox()
    first_row = (ys < ys.min() + 128 / 600 * 300) & (xs < 300)
    np.testing.assert_allclose(
        [xs[first_row].min(), xs[first_row].max()],
        [edge.x0, edge.x1],
        atol=3,
    )
    np.testing.assert_allclose(
        [ys[first_row].min(), ys[first_row].max()], [edge.y0, edge.y1], atol=3
    )


def test_a_face_sheet_shows_the_narrowest_frames(look):
    sheet = drawing.FaceSheet("clip", ())
    frame = np.arange(2048, dtype=np.uint8).reshape(1024, 2, 1)
    sheet.watch(0.0, frame.repeat(3, axis=2))
    sheet.add(types.SimpleNamespace(found=False, confidence=0, reason="dark"))
    # The mean of 2x2 pixels: 0, 1, 2 and 3, and so on.
    assert sheet._cells[0].thumb[:3, 0, 0].tolist() == [1, 5, 9]
    look(sheet.write)


def test_a_face_sheet_needs_a_face_a_frame(tmp_path):
    sheet = drawing.FaceSheet("clip", ())
    with pytest.raises(ValueError, match="not 0 and 0"):
        sheet.write(tmp_path / "sheet.png")
    sheet.watch(0.0, np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ValueError, match="not 1 and 0"):
        sheet.write(tmp_path / "sheet.png")


def test_a_scatter_of_many_points_draws_some_of_them(look):
    labels = np.linspace(-1, 1, 800_000).reshape(-1, 2)
    figure = look(
        drawing.scatter, labels, labels, TARGETS, {"valence": 1.0}, "frame"
    )
    axis = figure.axes[0]
    np.testing.assert_array_equal(
        axis.collections[0].get_offsets()[:, 0], labels[::80, 0]
    )
    assert "400,000 frames, 1 in 80 drawn" in axis.get_title()
