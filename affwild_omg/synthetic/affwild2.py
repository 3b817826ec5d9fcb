"""Writes a corpus like Aff-Wild2: films with a label for each frame.

It lies on disk as ABAW gives Aff-Wild2 and is read by `corpora.affwild2`, with
what makes that hard: one film is long, one shows two people side by side,
heads turn away, a camera loses the face for a while, and some frames are not
annotated. Its people are not those of `corpus`: their faces are other mixtures
of the same two portraits.

Who is seen goes from mood to mood, and label and face go with it from frame to
frame: a label is what is acted, which no rater has blurred. Arousal lies in
[0, 1], as in OMG-Emotion.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from affwild_omg.corpora import affwild2
from affwild_omg.corpora.annotations import NONE
from affwild_omg.corpora.clips import SPLITS
from affwild_omg.synthetic import acting, corpus, faces, plan
from affwild_omg.synthetic.camera import SIZE, Camera, draw_background
from affwild_omg.synthetic.portrait import load_portraits

EDITION = 1  # raise it when frames or labels change
FILMS = {"train": 30, "validation": 8}
_FOLDERS = {"train": "Train_Set", "validation": "Validation_Set"}
_MOODS = 4  # of a person in a film
_LONG = 32  # the same in train's first
_SECONDS = (2.5, 6.0)  # of a mood, shortest and longest
_FADE = 6  # frames from one mood to the next, and from a face to none
_AWAY = 15  # frames without the face
_TURN = 0.45  # of a turned head's yaw, beside what a mood does


@dataclasses.dataclass(frozen=True, kw_only=True)
class Film:
    """One planned film."""

    split: str  # "train" or "validation"
    index: int  # in its split, from 0
    name: str
    blends: tuple[float, ...]  # of who is seen, from left to right, as looks'
    moods: tuple[tuple[plan.Mood, ...], ...]  # of each, equally long together
    turned: bool = False  # whether heads turn away
    # First frame and the one behind the last.
    away: tuple[int, int] | None = None  # without a face
    unannotated: tuple[int, int] = (0, 0)

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return sum(mood.frames for mood in self.moods[0])

    def annotations(self) -> dict[str, np.ndarray]:
        """Returns the labels [frames, 2] of who is seen, by file name."""
        sides = [""]
        if len(self.moods) == len(affwild2.SIDES):
            sides = [f"_{side}" for side in affwild2.SIDES]
        annotations = {}
        for side, moods in zip(sides, self.moods, strict=True):
            takes = [
                [np.array([x.true_valence, x.true_arousal])]
                * (x.frames + _FADE)
                for x in moods
            ]
            labels = np.array(_joined(takes, _mix))
            labels[slice(*self.unannotated)] = NONE
            annotations[f"{self.name}{side}.txt"] = labels
        return annotations


def plan_films() -> tuple[Film, ...]:
    """Draws who is seen, what they feel, and what goes wrong."""
    rng = np.random.default_rng([1, 99])
    # One more person than films in each split.
    count = sum(FILMS.values()) + len(FILMS)
    blends = iter(plan.spread(rng, count).tolist())
    films = []
    for split, number in FILMS.items():
        for index in range(number):
            people = 2 if index == 1 else 1
            moods = _LONG if (split, index) == ("train", 0) else _MOODS
            lengths = np.round(rng.uniform(*_SECONDS, moods) * plan.FPS)
            film = Film(
                split=split,
                index=index,
                name=f"{split}{index + 1}",
                blends=tuple(next(blends) for _ in range(people)),
                moods=tuple(_draw_moods(rng, lengths) for _ in range(people)),
                turned=index % 3 == 1,
            )
            third = film.frames // 3
            if index % 4 == 2:
                away = third, third + _AWAY
                film = dataclasses.replace(film, away=away)
            if index % 4 == 3:
                film = dataclasses.replace(film, unannotated=(0, third))
            films.append(film)
    return tuple(films)


def _draw_moods(rng, lengths) -> tuple[plan.Mood, ...]:
    valence = -0.9 + 1.8 * plan.spread(rng, len(lengths))
    arousal = 0.05 + 0.9 * plan.spread(rng, len(lengths))
    return tuple(
        plan.Mood(
            frames=int(frames),
            true_valence=round(float(one), 3),
            true_arousal=round(float(other), 3),
        )
        for frames, one, other in zip(lengths, valence, arousal, strict=True)
    )


def write_corpus(
    options: corpus.CorpusOptions,
    *,
    overwrite: bool = False,
    films: Sequence[Film] | None = None,
    workers: int | None = None,
) -> None:
    """Writes the corpus, whole or not at all, as `corpus.write_corpus`.

    Args:
        options: the corpus' root, and `EDITION`.
        overwrite: replace a demo corpus that is there; nothing else ever is.
        films: what to draw; by default all of `plan_films`.
        workers: processes; by default one per core.
    """
    films = plan_films() if films is None else films
    with corpus.new_corpus(options, overwrite=overwrite) as root:
        for folder in ("batch1", "batch2", *_FOLDERS.values()):
            (root / folder).mkdir()
        corpus.draw(functools.partial(_draw_film, root), films, workers)
        for film in films:
            for name, labels in film.annotations().items():
                rows = [
                    f"{valence:g},{arousal:g}" for valence, arousal in labels
                ]
                text = "\n".join([",".join(affwild2.HEADER), *rows, ""])
                (root / _FOLDERS[film.split] / name).write_text(text)


def _draw_film(root: pathlib.Path, film: Film) -> None:
    cv2.setNumThreads(1)  # the workers fill the cores already
    rng = np.random.default_rng([1, SPLITS.index(film.split), film.index])
    people = [
        _film_person(rng, film, *of_person)
        for of_person in zip(film.blends, film.moods, strict=True)
    ]
    path = root / f"batch{1 + film.index % 2}" / f"{film.name}.mp4"
    corpus.write_film(path, map(np.hstack, zip(*people, strict=True)))


def _film_person(rng, film, blend, moods) -> Iterator[np.ndarray]:
    """Returns the pictures of one of a film's people."""
    looks = faces.draw_looks(rng, blend=blend)
    person = faces.Person(load_portraits(), looks)
    poses = _act(rng, moods, acting.draw_habits(rng))
    if film.turned:
        poses = _turn(rng, poses)
    camera, room = Camera(rng), draw_background(rng)
    gone = np.zeros(film.frames)
    if film.away:
        start, stop = film.away
        moments = start - _FADE, start, stop - 1, stop - 1 + _FADE
        gone = np.interp(range(film.frames), moments, [0, 1, 1, 0])
    return (
        camera.take(_pan(person.render(pose), room, round(share * SIZE)))
        for pose, share in zip(poses, gone, strict=True)
    )


def _pan(frame, room, pixels: int) -> np.ndarray:
    """Turns the camera to the right, from a frame to the room beside it."""
    return np.ascontiguousarray(
        np.hstack([frame[:, pixels:], room[:, :pixels]])
    )


def _act(rng, moods, habits) -> list[faces.Pose]:
    takes = []
    for mood in moods:
        longer = dataclasses.replace(mood, frames=mood.frames + _FADE)
        takes.append(acting.act(rng, longer, habits))
    return _joined(takes, _mix_poses)


def _turn(rng, poses: list[faces.Pose]) -> list[faces.Pose]:
    """Turns the head from side to side, in some six seconds."""
    start, turned = rng.uniform(0, 2 * np.pi), []
    for number, pose in enumerate(poses):
        actions = pose.actions.copy()
        angle = start + number / plan.FPS
        actions[faces.ACTIONS.index("yaw")] += _TURN * np.sin(angle)
        turned.append(dataclasses.replace(pose, actions=actions))
    return turned


def _joined(takes: Sequence[Sequence], mix: Callable) -> list:
    """Joins takes, of which each lasts _FADE frames into the next one."""
    joined, before = [], []
    for take in takes:
        start = [
            mix(old, new, (number + 1) / (_FADE + 1))
            for number, (old, new) in enumerate(zip(before, take, strict=False))
        ]
        joined += [*start, *take[len(start) : -_FADE]]
        before = take[-_FADE:]
    return joined


def _mix(old, new, share: float) -> np.ndarray:
    return np.asarray(old) + share * (np.asarray(new) - np.asarray(old))


def _mix_poses(old: faces.Pose, new: faces.Pose, share: float) -> faces.Pose:
    names = [field.name for field in dataclasses.fields(faces.Pose)]
    return faces.Pose(
        **{x: _mix(getattr(old, x), getattr(new, x), share) for x in names}
    )
