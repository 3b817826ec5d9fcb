"""Faces for the demo corpus: new people made of two portraits, in motion.

`Person` makes somebody new out of the portraits, `Person.render` draws them
in a `Pose`, and a `Camera` takes the picture.

Lengths are in units of the distance between eyes and mouth, so that an
action means the same on a small and on a large face.
"""

import dataclasses

import cv2
import numpy as np

from affwild_omg.synthetic import portrait as demo_portraits
from affwild_omg.synthetic.portrait import Portrait

_STEP = 4  # pixels between the nodes of the coarse grid
_MARGIN = 44  # pixels of person kept around the frame, for heads that move

# What each action does to a face: landmarks, spread, and the displacement
# (outward from the face's middle line, down), all in units.
_ACTIONS = {
    "smile": (
        ((48, 54), 0.30, (0.10, -0.17)),
        ((31, 35), 0.30, (0.03, -0.03)),
        ((41, 46), 0.16, (0.0, -0.03)),
        ((57,), 0.25, (0.0, 0.03)),
    ),
    "frown": (
        ((48, 54), 0.28, (0.01, 0.15)),
        ((21, 22), 0.20, (-0.05, -0.11)),
        ((19, 24), 0.18, (-0.02, 0.03)),
        ((57,), 0.22, (0.0, -0.05)),
    ),
    "raise": (
        ((18, 25), 0.20, (0.0, -0.08)),
        ((20, 23), 0.20, (0.0, -0.09)),
        ((37, 44), 0.13, (0.0, -0.02)),
        ((38, 43), 0.13, (0.0, -0.02)),
    ),
    "wide": (
        ((37, 44), 0.13, (0.0, -0.035)),
        ((38, 43), 0.13, (0.0, -0.035)),
        ((40, 47), 0.13, (0.0, 0.02)),
    ),
}
ACTIONS = (*_ACTIONS, "yaw", "pitch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looks:
    """What tells one person from another; see `draw_looks`.

    Attributes:
        body: 0 or 1, the portrait that gives hair, clothes and skin colour.
        blend: in [0, 1], the second portrait's share of the face.
        shape: float (8,), about standard normal: how the face departs from
            the mean one (jaw, chin, eyes, brows, nose, mouth).
        scale: pixels a unit, for a frame of 256 pixels.
        centre: x and y of the eyes' middle as a share of the frame.
        mirrored: whether the frame is flipped.
        skin, clothes, hair: shifts of (lightness, a, b) in Lab, as uint8.
        balance: gains of red, green and blue.
        gamma: exponent of the tone curve.
        light: x and y of the light, in relative gain a unit.
        background: seed of the background.
    """

    body: int
    blend: float
    shape: np.ndarray
    scale: float
    centre: tuple[float, float]
    mirrored: bool
    skin: np.ndarray
    clothes: np.ndarray
    hair: np.ndarray
    balance: np.ndarray
    gamma: float
    light: tuple[float, float]
    background: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pose:
    """One frame's expression and head position.

    Attributes:
        actions: float (len(ACTIONS),), 1 is a full action.
        gape: opening of the mouth in units.
        lids: in [0, 1], 1 is closed.
        roll: radians, in the image's plane.
        size: the head's size, about 1.
        shift: x and y of the head in units.
    """

    actions: np.ndarray
    gape: float = 0.0
    lids: float = 0.0
    roll: float = 0.0
    size: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


def draw_looks(rng: np.random.Generator, *, blend: float) -> Looks:
    """Draws a person whose face is the given blend of the two portraits."""
    return Looks(
        body=int(rng.integers(2)),
        blend=blend,
        shape=rng.uniform(-1.5, 1.5, 8),
        scale=rng.uniform(41, 56),
        centre=(rng.uniform(0.44, 0.56), rng.uniform(0.40, 0.46)),
        mirrored=bool(rng.integers(2)),
        skin=np.array(
            [rng.uniform(-45, 15), rng.normal(0, 3), rng.normal(0, 4)]
        ),
        clothes=np.array([rng.uniform(-30, 50), *rng.uniform(-45, 45, 2)]),
        hair=np.array([rng.uniform(-50, 30), *rng.normal(0, 7, 2)]),
        balance=rng.uniform(0.9, 1.1, 3),
        gamma=float(np.exp(rng.uniform(-0.22, 0.22))),
        light=(rng.uniform(-0.2, 0.2), rng.uniform(-0.12, 0.06)),
        background=int(rng.integers(2**31)),
    )


class Person:
    """A new person made of the portraits, ready to be drawn.

    Args:
        portraits: the two of `demo_portraits.load_portraits`.
        looks: what the person looks like.
        size: width and height of the frames in pixels.
    """

    def __init__(self, portraits: list[Portrait], looks: Looks, size: int):
        self.size = size
        self.looks = looks
        self.unit = looks.scale * size / 256
        self.margin = _MARGIN
        self.width = size + 2 * _MARGIN
        origin = np.array(looks.centre) * size + _MARGIN
        shape = demo_portraits.vary_shape(
            demo_portraits.mean_shape(portraits), looks.shape
        )
        self.points = shape * self.unit + origin
        self.origin = origin
        self._mouth = _Mouth(self.points, self.unit)
        # Hopper's temples show her glasses; bare them if the eyes do not.
        bare = looks.body == 1 and looks.blend < 0.5
        layers = [self._lay(p, p.bare if bare else p.image) for p in portraits]
        self._texture = self._paint(layers)
        self._mouth.tint = self._tint()
        self._fields = self._action_fields()
        self._holds = self._head_weight()
        self.background = draw_background(
            np.random.default_rng(looks.background), size
        )

    # Building the person.

    def _lay(self, portrait: Portrait, image: np.ndarray) -> np.ndarray:
        """Brings a portrait to this person's shape, its mouth closed.

        Returns:
            float32 (width, width, 5): RGB in [0, 255], person, clothes.
        """
        gap = demo_portraits.lip_gap(portrait.landmarks)
        to_canvas = demo_portraits.similarity(portrait.landmarks, self.points)
        gap *= np.hypot(to_canvas[0, 0], to_canvas[0, 1]) / 2
        target = self._mouth.opened(self.points, gap)
        ring = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = np.stack([np.cos(ring) * 1.9, np.sin(ring) * 2.4 + 0.1], 1)
        frame = np.linspace(0, self.width, 5)
        frame = np.stack(np.meshgrid(frame, frame), -1).reshape(-1, 2)
        edge = np.abs(frame - self.width / 2).max(1) > self.width / 2 - 1
        still = np.concatenate([ring * self.unit + self.origin, frame[edge]])
        back = cv2.invertAffineTransform(to_canvas)
        where = still @ back[:, :2].T + back[:, 2]
        nodes = _grid(self.width)
        coarse = demo_portraits.thin_plate(
            np.concatenate([target, still]),
            np.concatenate([portrait.landmarks, where]),
            nodes.reshape(-1, 2),
        ).reshape(nodes.shape)
        x, y = np.meshgrid(*[np.arange(self.width, dtype=np.float32)] * 2)
        y = self._mouth.closed(x, y, gap)
        where = cv2.remap(
            coarse.astype(np.float32), x / _STEP, y / _STEP, cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        # A portrait that is shrunk would alias; blur it by as much.
        blur = max(0.1, 0.45 / np.hypot(to_canvas[0, 0], to_canvas[0, 1]) - 0.3)
        image = cv2.GaussianBlur(image, (0, 0), blur)
        whole = np.dstack([image.astype(np.float32), portrait.cover])
        laid = [
            cv2.remap(
                np.ascontiguousarray(part), where, None, cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for part in (whole[..., :3], whole[..., 3:])
        ]  # fmt: skip
        laid[1][where[..., 1] < 0] = 0
        return np.dstack(laid)

    def _paint(self, layers: list[np.ndarray]) -> np.ndarray:
        """Mixes the laid portraits into one picture of the person.

        Returns:
            uint8 (width, width, 4): RGB multiplied by cover, and cover.
        """
        looks = self.looks
        body, other = layers[looks.body], layers[1 - looks.body]
        face, eyes = self._face_masks()
        share = looks.blend if looks.body == 0 else 1 - looks.blend
        # Half a pair of glasses looks wrong: eyes come from one side.
        eye_share = round(share)
        skin = face > 0.9
        matched = _match_colours(other[..., :3], body[..., :3], skin)
        weight = (face * (eyes * eye_share + (1 - eyes) * share))[..., None]
        image = body[..., :3] * (1 - weight) + matched * weight
        image = self._recolour(image, body, face)
        x, y = np.meshgrid(*[np.arange(self.width, dtype=np.float32)] * 2)
        gain = 1 + (x - self.origin[0]) / self.unit * looks.light[0]
        gain += (y - self.origin[1]) / self.unit * looks.light[1]
        image = image / 255 * np.clip(gain, 0.5, 1.5)[..., None]
        image = np.clip(image * looks.balance, 0, 1) ** looks.gamma * 255
        cover = body[..., 3:4]
        return np.round(np.dstack([image * cover, cover * 255])).astype(
            np.uint8
        )

    def _tint(self) -> np.ndarray:
        """Light on teeth and tongue, by channel: as on the skin."""
        face, _ = self._face_masks()
        skin = np.median(self._texture[face > 0.9], 0)[:3]
        return np.clip(skin.mean() / 160, 0.6, 1.1) * self.looks.balance

    def _recolour(self, image, body, face) -> np.ndarray:
        looks = self.looks
        lab = cv2.cvtColor(
            np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_RGB2LAB
        ).astype(np.float32)
        tone = np.median(lab[face > 0.9], 0)
        distance = (lab - tone)[..., 1:] / 12
        alike = np.exp(-(distance**2).sum(-1) / 2)
        clothes = body[..., 4]
        skin = np.maximum(face, alike * (1 - clothes))
        hair = (1 - skin) * (1 - clothes)
        for mask, shift in (
            (skin, looks.skin),
            (clothes, looks.clothes),
            (hair, looks.hair),
        ):
            # Shadows stay dark and highlights bright: shift the middle.
            middle = np.sin(np.clip(lab[..., :1] / 255, 0, 1) ** 0.5 * np.pi)
            lab += cv2.GaussianBlur(mask, (0, 0), 1)[..., None] * middle * shift
        lab = np.clip(lab, 0, 255).astype(np.uint8)
        return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.float32)

    def _face_masks(self) -> tuple[np.ndarray, np.ndarray]:
        unit, points = self.unit, self.points
        brows = points[17:27] - [0, 0.10 * unit]
        jaw = (
            points[1:16] + (self.origin + [0, 0.5 * unit] - points[1:16]) * 0.1
        )
        hull = cv2.convexHull(np.concatenate([brows, jaw]).astype(np.float32))
        face = np.zeros((self.width, self.width), np.float32)
        cv2.fillConvexPoly(face, np.round(hull).astype(np.int32), 1.0)
        face = cv2.erode(face, np.ones((3, 3)), iterations=int(unit * 0.04))
        face = cv2.GaussianBlur(face, (0, 0), unit * 0.07)
        y = (np.arange(self.width, dtype=np.float32) - self.origin[1]) / unit
        eyes = np.clip((0.62 - y) / 0.25, 0, 1)
        return face, np.repeat(eyes[:, None], self.width, 1)

    def _action_fields(self) -> np.ndarray:
        """Spreads each action over the grid: (actions, rows, columns, 2)."""
        nodes = _grid(self.width)
        middle = self.points[27:31, 0].mean()
        fields = []
        for parts in _ACTIONS.values():
            field = np.zeros(nodes.shape)
            for landmarks, spread, (outward, down) in parts:
                for landmark in landmarks:
                    centre = self.points[landmark]
                    side = np.sign(
                        np.round((centre[0] - middle) / self.unit, 1)
                    )
                    bell = _bell(nodes, centre, spread * self.unit)
                    field += bell * np.array([side * outward, down])
            fields.append(field)
        # A turned head: what lies nearer, the nose above all, moves more.
        near = 0.6 * _bell(nodes, self.points[29], 0.9 * self.unit)
        near += 0.4 * _bell(nodes, self.points[30], 0.35 * self.unit)
        fields.append(near * [1.0, 0.0])
        fields.append(near * [0.0, 1.0])
        return np.stack(fields) * self.unit

    def _head_weight(self) -> np.ndarray:
        """How much of the head's motion each node takes: shoulders little."""
        y = _grid(self.width)[..., 1:]
        chin = self.points[8, 1] + 0.1 * self.unit
        fall = np.clip((y - chin) / (2.2 * self.unit), 0, 1)
        return 1 - 0.85 * fall * fall * (3 - 2 * fall)

    # Drawing a frame.

    def render(self, pose: Pose) -> np.ndarray:
        """Draws the person.

        Args:
            pose: the frame's expression and head position.

        Returns:
            uint8 (size, size, 3), RGB.
        """
        x, y = self._sources(pose)
        gape = self._mouth.gape(x, y, pose.gape)
        y = self._close_lids(x, gape.y, pose.lids)
        drawn = cv2.remap(
            self._texture,
            x,
            y,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        cover = cv2.cvtColor(drawn[..., 3], cv2.COLOR_GRAY2RGB)
        behind = cv2.multiply(self.background, 255 - cover, scale=1 / 255)
        frame = cv2.add(np.ascontiguousarray(drawn[..., :3]), behind)
        gape.paint(frame)
        return cv2.flip(frame, 1) if self.looks.mirrored else frame

    def _sources(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Finds where on the texture each pixel of the frame comes from."""
        nodes = _grid(self.width)
        # einsum and not @: no BLAS, so the same bits on any machine load.
        moved = nodes + np.einsum(
            "a,arcx->arcx", pose.actions, self._fields
        ).sum(0)
        pivot = self.points[8] + [0, 0.3 * self.unit]
        cosine, sine = np.cos(pose.roll), np.sin(pose.roll)
        turn = pose.size * np.array([[cosine, -sine], [sine, cosine]])
        arm = moved - pivot
        head = np.einsum("rcx,yx->rcy", arm, turn) - arm
        head += np.array(pose.shift) * self.unit
        forward = (moved + self._holds * head - nodes).astype(np.float32)
        # The frame asks backwards; invert by iterating to the fixed point.
        wanted = (_grid(self.size) + self.margin).astype(np.float32)
        found = wanted
        for _ in range(6):
            place = found / _STEP
            found = wanted - cv2.remap(
                forward, place, None, cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )  # fmt: skip
        full = cv2.warpAffine(
            np.round(found * 64) / 64,
            np.array([[1 / _STEP, 0, 0], [0, 1 / _STEP, 0]]),
            (self.size, self.size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        return np.ascontiguousarray(full[..., 0]), full[..., 1].copy()

    def _close_lids(self, x, y, lids: float) -> np.ndarray:
        """Draws the skin above each eye down over it."""
        if lids <= 0:
            return y
        for eye in (self.points[36:42], self.points[42:48]):
            upper, lower = eye[:4], eye[[0, 5, 4, 3]]
            high = 0.8 * (lower[1:3, 1].mean() - upper[1:3, 1].mean()) + 2
            box = (x > eye[0, 0]) & (x < eye[3, 0])
            box &= (y > upper[:, 1].min() - high - 2) & (
                y < eye[:, 1].max() + 2
            )
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


@dataclasses.dataclass(frozen=True)
class _Gape:
    """An opened mouth in a frame: sources of its pixels, and its inside."""

    y: np.ndarray
    box: tuple[slice, slice]
    inside: np.ndarray
    colour: np.ndarray

    def paint(self, frame: np.ndarray) -> None:
        part = frame[self.box]
        part[:] = np.round(part + self.inside * (self.colour - part))


class _Mouth:
    """The lips' line, along which a face may be cut open."""

    def __init__(self, points: np.ndarray, unit: float):
        self.unit = unit
        lips = points[[60, 61, 62, 63, 64]].copy()
        lips[1:4] = (points[[61, 62, 63]] + points[[67, 66, 65]]) / 2
        self.line = lips
        self.middle = (points[60, 0] + points[64, 0]) / 2
        self.half = (points[64, 0] - points[60, 0]) / 2
        self.nose = points[33, 1]
        self.chin = points[8, 1]
        self.tint = np.ones(3)

    def _line(self, x):
        return np.interp(x, self.line[:, 0], self.line[:, 1])

    def _profile(self, x, half):
        return np.clip(1 - ((x - self.middle) / half) ** 2, 0, 1) ** 0.8

    def opened(self, points: np.ndarray, gap: float) -> np.ndarray:
        """Moves the lips of (68, 2) points apart by `gap` pixels each."""
        points = points.copy()
        for lip, sign in (((49, 50, 51, 52, 53, 61, 62, 63), -1),
                          ((55, 56, 57, 58, 59, 65, 66, 67), 1)):  # fmt: skip
            lip = list(lip)
            profile = self._profile(points[lip, 0], self.half)
            points[lip, 1] += sign * gap * profile
        return points

    def closed(self, x, y, gap: float) -> np.ndarray:
        """Undoes `opened`: where each pixel of a closed mouth comes from."""
        line = self._line(x)
        apart = gap * self._profile(x, self.half)
        up = np.clip((y - self.nose) / (line - self.nose), 0, 1)
        down = np.clip((self.chin - y) / (self.chin - line), 0, 1)
        return np.where(y < line, y - apart * up, y + apart * down).astype(
            np.float32
        )

    def gape(self, x, y, opening: float) -> _Gape:
        """Opens the mouth by `opening` units.

        Args:
            x, y: float32 (size, size), sources of the closed face's pixels.
        """
        unit = self.unit
        jaw = (y > self.nose) & (y < self.chin + 1.4 * unit)
        jaw = _box(jaw & (np.abs(x - self.middle) < 2.1 * self.half))
        whole, x, part = y.copy(), x[jaw], y[jaw]
        line = self._line(x)
        profile = self._profile(x, self.half * 0.96)
        drop = max(opening, 0) * unit
        lift = 0.16 * drop
        top = line - lift * profile
        bottom = line + 0.84 * drop * profile
        up = np.clip((part - self.nose) / (top - self.nose), 0, 1)
        above = part + lift * profile * up
        # Below the lips the whole jaw drops, and the neck takes it up.
        depth = np.clip((part - bottom) / (self.chin - self.line[2, 1]), 0, 1)
        wide = self._profile(x, self.half * (0.96 + 1.1 * depth))
        neck = np.clip((part - self.chin - 0.5 * drop) / (1.2 * unit), 0, 1)
        below = part - 0.84 * drop * wide * (1 - neck * neck * (3 - 2 * neck))
        whole[jaw] = np.where(part < (top + bottom) / 2, above, below)
        lips = (part > top - 4) & (part < bottom + 4) & (profile > 0)
        lips = _box(lips)
        box = tuple(
            slice(outer.start + inner.start, outer.start + inner.stop)
            for outer, inner in zip(jaw, lips, strict=True)
        )
        drawn = self._inside(part[lips], top[lips], bottom[lips], profile[lips])
        return _Gape(whole, box, *drawn)

    def _inside(self, y, top, bottom, profile):
        edge = np.minimum(y - top, bottom - y)
        # Lips that touch still show a thin shadow between them.
        inside = np.maximum(
            np.clip(edge / 1.5 + 0.5, 0, 1) * (bottom - top > 0.6),
            0.4 * np.exp(-((y - (top + bottom) / 2) ** 2) / 1.2),
        ) * np.clip(profile * 4, 0, 1)
        depth = np.clip((y - top) / (0.17 * self.unit), 0, 2)
        teeth = np.clip((1 - depth) * 4, 0, 1) * np.clip(
            (bottom - top) / (0.10 * self.unit) - 0.6, 0, 1
        )
        teeth *= np.clip(profile * 1.6 - 0.35, 0, 1) * 0.8
        tongue = np.clip(1 - (bottom - y) / (0.16 * self.unit), 0, 1) * 0.5
        dark = np.array([52.0, 22.0, 22.0])
        colour = dark + tongue[..., None] * np.array([95.0, 40.0, 42.0])
        shade = 0.8 + 0.2 * np.clip(depth, 0, 1)
        ivory = np.array([238.0, 218.0, 190.0]) * shade[..., None]
        colour += teeth[..., None] * (ivory - colour)
        return inside[..., None], colour * self.tint


class Camera:
    """What a camera does to an utterance: exposure, blur, noise, JPEG.

    Args:
        rng: draws the camera's faults, and its noise frame by frame.
        size: width and height of the frames in pixels.
    """

    def __init__(self, rng: np.random.Generator, size: int):
        self._rng = rng
        self._blur = max(0.0, rng.uniform(-0.3, 1.0))
        self._quality = int(rng.integers(40, 96))
        gain, lift = rng.uniform(0.88, 1.12), rng.uniform(-10, 10)
        levels = np.arange(256) * gain + lift
        self._tone = np.clip(levels, 0, 255).astype(np.uint8)
        self._size = size
        # Drawn once, then shifted about: fresh noise costs as much as a face.
        grain = rng.standard_normal((size + 64, size + 64, 3))
        self._grain = (grain * rng.uniform(0.5, 7)).astype(np.int16)

    def take(self, frame: np.ndarray) -> np.ndarray:
        """Takes a picture: uint8 RGB (size, size, 3) in and out."""
        frame = cv2.LUT(frame, self._tone)
        if self._blur > 0.3:
            frame = cv2.GaussianBlur(frame, (0, 0), self._blur)
        x, y = self._rng.integers(0, 65, 2)
        grain = self._grain[y : y + self._size, x : x + self._size]
        frame = cv2.add(frame, grain, dtype=cv2.CV_8U)
        done, data = cv2.imencode(
            ".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, self._quality]
        )
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if done else frame


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draws a blurred room: gradients, blobs and texture, uint8 RGB."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, size)] * 2)
    first, second = _colour(rng), _colour(rng)
    angle = rng.uniform(0, 2 * np.pi)
    share = (x * np.cos(angle) + y * np.sin(angle)) * 0.4 + 0.5
    image = first + share[..., None] * (second - first) * rng.uniform(0.2, 1)
    for _ in range(rng.integers(0, 9)):
        centre, spread = rng.uniform(-1.1, 1.1, 2), rng.uniform(0.08, 0.7, 2)
        power = rng.choice([2, 8])
        blob = np.exp(
            -(np.abs((x - centre[0]) / spread[0]) ** power)
            - np.abs((y - centre[1]) / spread[1]) ** power
        )
        image += (
            blob[..., None] * (_colour(rng) - image) * rng.uniform(0.3, 0.9)
        )
    noise = rng.standard_normal((size // 8, size // 8, 1)).astype(np.float32)
    noise = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    image += noise[..., None] * rng.uniform(0, 9)
    image = np.clip(image, 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 4))


def _colour(rng) -> np.ndarray:
    """A colour as walls and curtains have them: seldom a loud one."""
    colour = rng.uniform(10, 245, 3)
    return colour + (colour.mean() - colour) * rng.uniform(0.2, 1)


def _match_colours(image, like, mask) -> np.ndarray:
    """Gives the image the mean and spread of `like` within the mask."""
    mean, spread = image[mask].mean(0), image[mask].std(0)
    wanted, wide = like[mask].mean(0), like[mask].std(0)
    gain = np.clip(wide / spread, 0.7, 1.3)
    return np.clip((image - mean) * gain + wanted, 0, 255)


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that hold all that is true; empty if none is."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _bell(nodes, centre, spread) -> np.ndarray:
    square = ((nodes - centre) ** 2).sum(-1, keepdims=True)
    return np.exp(-square / (2 * spread**2))


def _grid(size: int) -> np.ndarray:
    """Pixel positions of the coarse grid's nodes: (n, n, 2), x and y."""
    line = np.arange(0, size + _STEP, _STEP, dtype=np.float64)
    return np.stack(np.meshgrid(line, line), -1)
