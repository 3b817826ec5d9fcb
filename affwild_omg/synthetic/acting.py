"""How people of the demo corpus act out valence and arousal.

Valence drives mouth corners, brows and cheeks. Arousal drives how fast and
how far things move, so that it cannot be read from one still.
"""

import types

import numpy as np

from affwild_omg.synthetic import faces, plan


def draw_habits(rng: np.random.Generator) -> types.SimpleNamespace:
    """Draws how a person moves whatever they feel.

    This is what a model must see past.
    """
    return types.SimpleNamespace(
        rest=rng.normal(0, 0.08),  # valence that the face at rest seems to show
        parted=max(0.0, rng.normal(0.04, 0.05)),  # mouth at rest, units
        stare=rng.normal(0, 0.4),  # widening of the eyes at rest
        tilt=rng.normal(0, 0.04),  # radians
        gains=rng.uniform(0.85, 1.15, 4),  # of smile, frown, raise, wide
    )


def _wander(rng, seconds: np.ndarray, hertz: float) -> np.ndarray:
    """Draws a smooth random curve of about unit deviation around `hertz`."""
    curve = np.zeros(len(seconds))
    for _ in range(3):
        speed = 2 * np.pi * hertz * rng.uniform(0.6, 1.5)
        curve += np.sin(speed * seconds + rng.uniform(0, 2 * np.pi))
    return curve * np.sqrt(2 / 3)


def act(
    rng: np.random.Generator,
    felt: plan.Mood,
    habits: types.SimpleNamespace,
) -> list[faces.Pose]:
    """Turns what is felt, such as an utterance, into a pose per frame."""
    count, arousal = felt.frames, felt.true_arousal
    seconds = np.arange(count) / plan.FPS
    # How far things move shows in the mean over time, not in a frame: that
    # may fall between two syllables.
    pace = 0.3 + 2.2 * arousal
    extent = (0.15 + 1.25 * arousal) * np.exp(rng.normal(0, 0.12))
    mood = felt.true_valence + habits.rest
    mood = mood + 0.10 * _wander(rng, seconds, 0.2 + 0.5 * arousal)
    raised = 0.15 * arousal + 0.35 * extent * np.maximum(
        _wander(rng, seconds, 0.5 * pace), 0
    )
    actions = np.zeros((count, len(faces.ACTIONS)))
    actions[:, 0] = np.maximum(mood, 0) * habits.gains[0]
    actions[:, 1] = np.maximum(-mood, 0) * habits.gains[1]
    actions[:, 2] = raised * habits.gains[2]
    actions[:, 3] = (habits.stare + 0.5 * arousal) * habits.gains[3]
    actions[:, 4] = 0.09 * extent * _wander(rng, seconds, 0.35 * pace)
    actions[:, 5] = 0.07 * extent * _wander(rng, seconds, 0.5 * pace)
    lids = np.maximum(_blink(rng, seconds), 0.22 * np.maximum(mood, 0))
    syllables = _talk(rng, seconds, 0.7 + 2.6 * arousal)
    gape = habits.parted + 0.02 * arousal + 0.19 * extent * syllables
    roll = habits.tilt + 0.055 * extent * _wander(rng, seconds, 0.3 * pace)
    size = 1 + 0.02 * extent * _wander(rng, seconds, 0.25 * pace)
    across = 0.07 * extent * _wander(rng, seconds, 0.3 * pace)
    down = 0.07 * extent * _wander(rng, seconds, 0.5 * pace)
    return [
        faces.Pose(
            actions=actions[i],
            gape=gape[i],
            lids=lids[i],
            roll=float(np.clip(roll[i], -0.21, 0.21)),
            size=size[i],
            shift=(across[i], down[i]),
        )
        for i in range(count)
    ]


def _talk(rng, seconds: np.ndarray, hertz: float) -> np.ndarray:
    """Draws the mouth's opening in speech, in [0, 1]: syllables, pauses."""
    hertz = hertz * (1 + 0.2 * _wander(rng, seconds, 0.4))
    start = rng.uniform(0, 2 * np.pi)
    phase = start + 2 * np.pi * np.cumsum(hertz) / plan.FPS
    loud = np.clip(0.75 + 0.3 * _wander(rng, seconds, 0.5), 0.2, 1)
    return loud * (0.5 - 0.5 * np.cos(phase))


def _blink(rng, seconds: np.ndarray) -> np.ndarray:
    """Draws how far the lids are closed, in [0, 1]."""
    lids = np.zeros(len(seconds))
    for moment in rng.uniform(0, 10, rng.poisson(2.5)):
        # Times repeat every 10 s, which is enough for the few long clips.
        apart = np.abs((seconds - moment + 5) % 10 - 5)
        lids = np.maximum(lids, np.clip(1.25 - apart / 0.12, 0, 1))
    return lids
