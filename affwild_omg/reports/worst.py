"""The utterances that were predicted worst: their faces and their course."""

import numpy as np

from affwild_omg import figures as drawing
from affwild_omg.figures import canvas
from affwild_omg.reports import pictures, wording
from affwild_omg.reports.pages import Page
from affwild_omg.reports.run import Run
from affwild_omg.scoring import aggregation, breakdown

CROPS = 8  # of each utterance


def add_worst(page: Page, run: Run) -> None:
    """Adds the worst utterances.

    Raises:
        UserError: their faces are asked for, and not in the records.
    """
    page.section("Worst utterances")
    if not run.keys:
        page.aside("Left out: there are no labels.")
        return
    worst = [
        int(i)
        for i in breakdown.worst(run.labels, run.predictions, run.options.worst)
    ]
    rows = [
        pictures.utterance(run, run.keys[i], run.labels[i], run.predictions[i])
        for i in worst
    ]
    pictures.write_rows(run, "worst", rows)
    timed = bool(run.place)
    page.table(
        (
            "video",
            "utterance",
            *wording.heads(run.targets, "true", "predicted"),
            "distance",
            *["seconds"] * timed,
        ),
        [
            (
                row["video"],
                row["utterance"],
                *(
                    wording.number(row[f"{side}_{target}"])
                    for target in run.targets
                    for side in ("true", "predicted")
                ),
                wording.number(row["distance"]),
                *[wording.number(row.get("seconds"), 1)] * timed,
            )
            for row in rows
        ],
        caption="The largest distance between predicted and true values first",
        words=2,
    )
    if run.options.records:
        _add_faces(page, run, rows)
    else:
        page.aside("No faces are shown: no --records were given.")
    _add_timelines(page, run, worst)


def _add_faces(page, run, rows):
    from affwild_omg.data import crops

    keys = [f"{row['video']}/{row['utterance']}" for row in rows]
    split = run.metrics.get("split")
    if not split:  # of anyone's predictions
        split = crops.find_split(run.options.records, keys)
    found = crops.read(run.options.records, split, keys, CROPS)
    drawing.contact_sheet(
        pictures.picture(run, "worst"),
        [
            (_caption(run, row), found[key].images, found[key].face)
            for key, row in zip(keys, rows, strict=True)
        ],
        columns=CROPS,
    )
    pictures.show(
        page,
        run,
        "worst",
        "The worst utterances, each with evenly spaced frames from its "
        "first to its last.",
    )


def _caption(run, row):
    name = canvas.shorten(f"{row['video']} / {row['utterance']}", 60)
    values = [
        f"{target} {row[f'true_{target}']:+.2f}, predicted "
        f"{row[f'predicted_{target}']:+.2f}"
        for target in run.targets
    ]
    return f"{name}\ntrue {';  true '.join(values)}"


def _add_timelines(page, run, worst):
    worst = [i for i in worst if run.keys[i] in run.place]
    if not worst:
        page.aside(
            "No timelines: the results folder holds no frames of these "
            "utterances."
        )
        return
    estimate = run.metrics.get("sequence_estimate", "median")
    courses = [_course(run, i, estimate) for i in worst]
    drawing.timelines(
        pictures.picture(run, "timelines"),
        courses,
        run.targets,
        estimate=estimate,
    )
    pictures.write_rows(
        run,
        "timelines",
        [row for course in courses for row in _course_rows(run, course)],
    )
    pictures.show(
        page,
        run,
        "timelines",
        "The worst utterances frame by frame"
        + (
            ", before post-processing; the utterance's estimate is after it."
            if run.metrics.get("postprocessing")
            else "."
        )
        + " Where the background is grey no face was found.",
    )


def _course(run, i, estimate):
    """Returns what `drawing.timelines` takes of a labelled utterance."""
    at = run.place[run.keys[i]]
    frames, fps = run.frames, float(run.frames.fps[at])
    mask = np.asarray(frames.mask[at], bool)
    values = np.asarray(frames.values[at], float)
    length = len(mask)
    sequences = frames.sequences(at)
    nothing = np.full(len(run.targets), np.nan)
    estimates = [
        aggregation.sequence_estimate(values[part], mask[part], estimate)
        for part in sequences
    ]
    return {
        "title": run.keys[i],
        "times": np.arange(length) / fps,
        "face": mask,
        "values": np.where(mask[:, None], values, np.nan),
        "sequences": (
            np.array([part.start for part in sequences] + [length]) / fps,
            np.array([nothing if x is None else x for x in estimates]),
        ),
        "estimate": run.predictions[i],
        "truth": np.asarray(frames.labels[at], float),
    }


def _course_rows(run, course):
    video, _, utterance = course["title"].rpartition("/")
    edges, estimates = course["sequences"]
    for frame, time in enumerate(course["times"]):
        sequence = np.searchsorted(edges, time, side="right") - 1
        row = {
            "video": video,
            "utterance": utterance,
            "frame": frame,
            "time_s": float(time),
            "face": int(course["face"][frame]),
        }
        for column, target in enumerate(run.targets):
            row |= {
                target: float(course["values"][frame, column]),
                f"{target}_of_sequence": float(estimates[sequence, column]),
                f"{target}_of_utterance": float(course["estimate"][column]),
                f"true_{target}": float(course["truth"][frame, column]),
            }
        yield row
