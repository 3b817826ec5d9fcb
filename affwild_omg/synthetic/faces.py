"""The demo's people: new faces made of two portraits, in motion.

`Person` makes somebody new out of the portraits and draws them in a `Pose`.

A face is 68 landmarks. Lengths are in units of the distance between eyes and
mouth, from the middle of the eyes, so that an action means the same on a
small and on a large face. data/face.json holds the neutral face (the two
portraits' mean, made symmetric, its mouth closed); its shapes, the ways in
which people differ from it, as (landmark, x, y) for a weight of 1; and the
actions: which landmarks each moves, how far outward from the face's middle
line and down, and how far around them the skin follows.
"""

import dataclasses
import json
import types
from importlib import resources

import cv2
import numpy as np
import scipy.interpolate

from affwild_omg.faces import alignment
from affwild_omg.synthetic.camera import SIZE, draw_background
from affwild_omg.synthetic.mouth import Mouth
from affwild_omg.synthetic.portrait import Portrait

_FACE = json.loads(
    (resources.files(__package__) / "data/face.json").read_text("utf-8")
)
ACTIONS = (*_FACE["actions"], "yaw", "pitch")
# Landmarks that stay in place when a face acts, and that two faces share.
_RIGID = slice(27, 60)
_STEP = 4  # pixels between the nodes of the coarse grid
MARGIN = 44  # pixels of person kept around the frame, for heads that move
_WIDTH = SIZE + 2 * MARGIN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pose:
    """One frame's expression and head position."""

    actions: np.ndarray  # float [len(ACTIONS)], 1 is a full action
    gape: float = 0.0  # opening of the mouth in units
    lids: float = 0.0  # in [0, 1], 1 is closed
    roll: float = 0.0  # radians, in the image's plane
    size: float = 1.0  # of the head, relative
    shift: tuple[float, float] = (0.0, 0.0)  # of the head, right and down


def draw_looks(
    rng: np.random.Generator, *, blend: float
) -> types.SimpleNamespace:
    """Draws what tells one person from another.

    Args:
        rng: draws it.
        blend: the second portrait's share of the face, in [0, 1].
    """
    return types.SimpleNamespace(
        # The portrait that gives hair, clothes and the colour of the skin.
        body=int(rng.integers(2)),
        blend=blend,
        shape=rng.uniform(-1.5, 1.5, 8),  # weights of the "shapes"
        scale=rng.uniform(41, 56),  # pixels a unit
        # Of the eyes, as a share of the frame.
        centre=(rng.uniform(0.44, 0.56), rng.uniform(0.40, 0.46)),
        mirrored=bool(rng.integers(2)),  # whether the frame is flipped
        # Shifts of lightness, a and b in Lab, as uint8.
        skin=np.array(
            [rng.uniform(-45, 15), rng.normal(0, 3), rng.normal(0, 4)]
        ),
        clothes=np.array([rng.uniform(-30, 50), *rng.uniform(-45, 45, 2)]),
        hair=np.array([rng.uniform(-50, 30), *rng.normal(0, 7, 2)]),
        balance=rng.uniform(0.9, 1.1, 3),  # gains of red, green and blue
        gamma=float(np.exp(rng.uniform(-0.22, 0.22))),  # of the tone curve
        # Rightward and down, relative gain a unit.
        light=(rng.uniform(-0.2, 0.2), rng.uniform(-0.12, 0.06)),
        background=int(rng.integers(2**31)),  # its seed
    )


def _vary(weights: np.ndarray) -> np.ndarray:
    """Makes one person's face [68, 2], in units, of the neutral one."""
    points = np.array(_FACE["neutral"])
    for weight, rows in zip(weights, _FACE["shapes"].values(), strict=True):
        for landmark, x, y in rows:
            points[landmark] += weight * np.array([x, y])
    return points


class Person:
    """A new person made of the portraits, ready to be drawn.

    Args:
        portraits: the two of `load_portraits`.
        looks: of `draw_looks`.
    """

    def __init__(self, portraits: list[Portrait], looks: types.SimpleNamespace):
        self.looks = looks
        self.unit = looks.scale
        self.origin = np.array(looks.centre) * SIZE + MARGIN
        self.points = _vary(looks.shape) * self.unit + self.origin
        self._mouth = Mouth(self.points, self.unit)
        # Hopper's temples show her glasses; bare them if the eyes do not.
        bare = looks.body == 1 and looks.blend < 0.5
        self._texture, self._light = self._paint(
            [self._lay(p, p.bare if bare else p.image) for p in portraits]
        )
        self._fields = self._action_fields()
        self._holds = self._head_weight()
        self._background = draw_background(
            np.random.default_rng(looks.background)
        )

    # Building the person.

    def _lay(self, portrait: Portrait, image: np.ndarray) -> np.ndarray:
        """Brings a portrait to this person's shape, its mouth closed.

        Returns:
            float32 [_WIDTH, _WIDTH, 5]: RGB in [0, 255], person, clothes.
        """
        to_texture = alignment.estimate_similarity(
            portrait.landmarks[_RIGID], self.points[_RIGID]
        )
        scale = alignment.scale_of(to_texture)
        gap = portrait.lip_gap * scale / 2
        # The skin goes with the landmarks; what is far from the face stays.
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = np.stack([1.9 * np.cos(angle), 2.4 * np.sin(angle) + 0.1], 1)
        frame = np.stack(np.meshgrid(*[np.linspace(0, _WIDTH, 5)] * 2), -1)
        edge = np.abs(frame - _WIDTH / 2).max(-1) == _WIDTH / 2
        still = np.concatenate([ring * self.unit + self.origin, frame[edge]])
        back = cv2.invertAffineTransform(to_texture)
        source = np.concatenate([self._mouth.opened(self.points, gap), still])
        target = [portrait.landmarks, alignment.transform(back, still)]
        warp = scipy.interpolate.RBFInterpolator(
            source,
            np.concatenate(target),
            kernel="thin_plate_spline",
            # A little slack: landmarks found a pixel off must not fold the
            # skin.
            smoothing=1e-4 * source.max() ** 2,
            degree=1,
        )
        nodes = _grid(_WIDTH)
        # Rounded: the last digits of a solved system depend on the machine.
        coarse = np.round(warp(nodes.reshape(-1, 2)) * 1024) / 1024
        coarse = coarse.reshape(nodes.shape).astype(np.float32)
        x, y = np.meshgrid(*[np.arange(_WIDTH, dtype=np.float32)] * 2)
        y = self._mouth.closed(x, y, gap)
        where = _remap(coarse, x / _STEP, y / _STEP)
        # A portrait that is shrunk would alias; blur it by as much.
        image = cv2.GaussianBlur(image, (0, 0), max(0.1, 0.45 / scale - 0.3))
        cover = _remap(portrait.cover, where)
        cover[where[..., 1] < 0] = 0
        return np.dstack([_remap(image.astype(np.float32), where), cover])

    def _paint(self, layers: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mixes the laid portraits into one picture of the person.

        Returns:
            uint8 [_WIDTH, _WIDTH, 4], RGB multiplied by cover, and cover; and
            the light on teeth and tongue, by channel: as on the skin.
        """
        looks = self.looks
        body, other = layers[looks.body], layers[1 - looks.body]
        face, eyes = self._face_masks()
        share = looks.blend if looks.body == 0 else 1 - looks.blend
        skin = face > 0.9
        matched = _match_colours(other[..., :3], body[..., :3], skin)
        # Half a pair of glasses looks wrong: eyes come from one side.
        weight = (face * (eyes * round(share) + (1 - eyes) * share))[..., None]
        image = body[..., :3] * (1 - weight) + matched * weight
        image = self._recolour(image, body[..., 4], face)
        x, y = np.meshgrid(*[np.arange(_WIDTH, dtype=np.float32)] * 2)
        gain = 1 + (x - self.origin[0]) / self.unit * looks.light[0]
        gain += (y - self.origin[1]) / self.unit * looks.light[1]
        image = image / 255 * np.clip(gain, 0.5, 1.5)[..., None]
        image = np.clip(image * looks.balance, 0, 1) ** looks.gamma * 255
        cover = body[..., 3:4]
        texture = np.round(np.dstack([image * cover, cover * 255]))
        tone = np.median(texture[skin], 0)[:3].mean()
        light = np.clip(tone / 160, 0.6, 1.1) * looks.balance
        return texture.astype(np.uint8), light

    def _recolour(self, image, clothes, face) -> np.ndarray:
        """Shifts the colours of skin, clothes and hair."""
        lab = cv2.cvtColor(
            np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_RGB2LAB
        ).astype(np.float32)
        tone = np.median(lab[face > 0.9], 0)
        distance = (lab - tone)[..., 1:] / 12
        alike = np.exp(-(distance**2).sum(-1) / 2)
        skin = np.maximum(face, alike * (1 - clothes))
        hair = (1 - skin) * (1 - clothes)
        for mask, shift in (
            (skin, self.looks.skin),
            (clothes, self.looks.clothes),
            (hair, self.looks.hair),
        ):
            # Shadows stay dark and highlights bright: shift the middle.
            middle = np.sin(np.clip(lab[..., :1] / 255, 0, 1) ** 0.5 * np.pi)
            lab += cv2.GaussianBlur(mask, (0, 0), 1)[..., None] * middle * shift
        lab = np.clip(lab, 0, 255).astype(np.uint8)
        return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.float32)

    def _face_masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the shares of the face and of the eyes' half of it."""
        unit, points = self.unit, self.points
        brows = points[17:27] - [0, 0.10 * unit]
        inward = self.origin + [0, 0.5 * unit] - points[1:16]
        outline = np.concatenate([brows, points[1:16] + 0.1 * inward])
        hull = cv2.convexHull(outline.astype(np.float32))
        face = np.zeros((_WIDTH, _WIDTH), np.float32)
        cv2.fillConvexPoly(face, np.round(hull).astype(np.int32), 1.0)
        face = cv2.erode(face, np.ones((3, 3)), iterations=int(unit * 0.04))
        face = cv2.GaussianBlur(face, (0, 0), unit * 0.07)
        y = (np.arange(_WIDTH, dtype=np.float32) - self.origin[1]) / unit
        return face, np.clip((0.62 - y) / 0.25, 0, 1)[:, None]

    def _action_fields(self) -> np.ndarray:
        """Spreads each action over the grid: [actions, rows, columns, 2]."""
        nodes = _grid(_WIDTH)
        middle = self.points[27:31, 0].mean()
        fields = []
        for parts in _FACE["actions"].values():
            field = np.zeros(nodes.shape)
            for part in parts:
                for centre in self.points[part["landmarks"]]:
                    off = np.round((centre[0] - middle) / self.unit, 1)
                    bell = _bell(nodes, centre, part["spread"] * self.unit)
                    outward = np.sign(off) * part["outward"]
                    field += bell * [outward, part["down"]]
            fields.append(field)
        # A turned head: what lies nearer, the nose above all, moves more.
        near = 0.6 * _bell(nodes, self.points[29], 0.9 * self.unit)
        near += 0.4 * _bell(nodes, self.points[30], 0.35 * self.unit)
        fields += [near * [1.0, 0.0], near * [0.0, 1.0]]
        return np.stack(fields) * self.unit

    def _head_weight(self) -> np.ndarray:
        """How much of the head's motion each node takes: shoulders little."""
        y = _grid(_WIDTH)[..., 1:]
        chin = self.points[8, 1] + 0.1 * self.unit
        fall = np.clip((y - chin) / (2.2 * self.unit), 0, 1)
        return 1 - 0.85 * fall * fall * (3 - 2 * fall)

    # Drawing a frame.

    def render(self, pose: Pose) -> np.ndarray:
        """Draws the person.

        Args:
            pose: the frame's expression and head position.

        Returns:
            uint8 [SIZE, SIZE, 3], RGB.
        """
        x, y = self._sources(pose)
        y, box, share, inside = self._mouth.gape(x, y, pose.gape)
        drawn = _remap(self._texture, x, self._close_lids(x, y, pose.lids))
        cover = cv2.cvtColor(drawn[..., 3], cv2.COLOR_GRAY2RGB)
        behind = cv2.multiply(self._background, 255 - cover, scale=1 / 255)
        frame = cv2.add(np.ascontiguousarray(drawn[..., :3]), behind)
        skin = frame[box]
        skin[:] = np.round(skin + share * (inside * self._light - skin))
        return cv2.flip(frame, 1) if self.looks.mirrored else frame

    def _sources(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Finds where on the texture each pixel of the frame comes from."""
        nodes = _grid(_WIDTH)
        # Sums of products and no BLAS: the same bits on any machine load.
        weights = pose.actions[:, None, None, None]
        moved = nodes + (weights * self._fields).sum(0)
        arm = moved - (self.points[8] + [0, 0.3 * self.unit])
        cosine, sine = np.cos(pose.roll), np.sin(pose.roll)
        turn = pose.size * np.array([[cosine, -sine], [sine, cosine]])
        head = np.einsum("rcx,yx->rcy", arm, turn) - arm
        head += np.array(pose.shift) * self.unit
        forward = (moved + self._holds * head - nodes).astype(np.float32)
        # The frame asks backwards; invert by iterating to the fixed point.
        wanted = (_grid(SIZE) + MARGIN).astype(np.float32)
        found = wanted
        for _ in range(6):
            found = wanted - _remap(forward, found / _STEP)
        full = cv2.warpAffine(
            np.round(found * 64) / 64,
            np.array([[1 / _STEP, 0, 0], [0, 1 / _STEP, 0]]),
            (SIZE, SIZE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        return np.ascontiguousarray(full[..., 0]), full[..., 1].copy()

    def _close_lids(self, x, y, lids: float) -> np.ndarray:
        """Draws the skin above each eye down over it."""
        if lids <= 0:
            return y
        for eye in (alignment.LEFT_EYE, alignment.RIGHT_EYE):
            eye = self.points[eye]
            upper, lower = eye[:4], eye[[0, 5, 4, 3]]
            high = 0.8 * (lower[1:3, 1].mean() - upper[1:3, 1].mean()) + 2
            box = (x > eye[0, 0]) & (x < eye[3, 0])
            box &= y > upper[:, 1].min() - high - 2
            box &= y < eye[:, 1].max() + 2
            across, down = x[box], y[box]
            lid = np.interp(across, upper[:, 0], upper[:, 1])
            end = lid + lids * (
                np.interp(across, lower[:, 0], lower[:, 1]) - lid
            )
            crease = lid - high
            # Stretch the skin near the crease and leave the lashes thin.
            part = np.clip((down - crease) / (end - crease), 0, 1)
            drawn = crease + high * part ** ((end - crease) / high)
            y[box] = np.where((down > crease) & (down < end), drawn, down)
        return y


def _match_colours(image, like, mask) -> np.ndarray:
    """Gives the image the mean and spread of `like` within the mask."""
    mean, spread = image[mask].mean(0), image[mask].std(0)
    wanted, wide = like[mask].mean(0), like[mask].std(0)
    gain = np.clip(wide / spread, 0.7, 1.3)
    return np.clip((image - mean) * gain + wanted, 0, 255)


def _bell(nodes, centre, spread) -> np.ndarray:
    """Returns a Gaussian of height 1 around a point: [rows, columns, 1]."""
    square = ((nodes - centre) ** 2).sum(-1, keepdims=True)
    return np.exp(-square / (2 * spread**2))


def _grid(size: int) -> np.ndarray:
    """Returns the coarse grid's nodes: pixels [n, n, 2], x and y."""
    line = np.arange(0, size + _STEP, _STEP, dtype=np.float64)
    return np.stack(np.meshgrid(line, line), -1)


def _remap(image, x, y=None) -> np.ndarray:
    """Samples an image bilinearly at x, y, or at x [rows, columns, 2]."""
    return cv2.remap(
        image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
