"""Ways to spoil a video at rising strength, to see what a metric notices.

Each is a pure function of the frames, the strength and a generator of random numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from dynamicrafter.draws import generator
from dynamicrafter.files import sha256_json
from eval.windows import Seen

Spoil = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Corruption:
    """A way to spoil a video.

    Attributes:
        name: for people.
        unit: of its strengths.
        strengths: rising.
        in_time: whether single frames stay as they are and only their order or rate suffers.
        spoil: frames uint8 `[t, h, w, 3]`, strength and random numbers → frames.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    in_time: bool
    spoil: Spoil


@dataclass(frozen=True)
class Spoiled:
    """A window as a corruption leaves it."""

    window: Seen
    kind: str
    strength: float
    seed: int

    @property
    def key(self) -> str:
        """Of the window."""
        return self.window.key

    def read(self) -> np.ndarray:
        """The spoiled frames, uint8 `[t, h, w, 3]`."""
        random = generator(self.seed, 0, f"{self.kind}/{self.key}")
        return CORRUPTIONS[self.kind].spoil(self.window.read(), self.strength, random)

    def content(self) -> str:
        """Of the window and of what is done to it."""
        return sha256_json([self.window.content(), self.kind, self.strength, self.seed, VERSION])


def blur(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Gaussian blur; sigma in pixels of a picture 256 high."""
    sigma = strength * min(frames.shape[1:3]) / 256
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])


def noise(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """White noise, new in each frame; deviation in grey levels of 255."""
    grain = random.standard_normal(frames.shape, np.float32) * strength
    return np.clip(np.rint(frames + grain), 0, 255).astype(np.uint8)


def freeze(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """The last share of the video stands still."""
    moving = max(round(len(frames) * (1 - strength)), 1)
    return frames[np.minimum(np.arange(len(frames)), moving - 1)]


def reverse(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Blocks of so many frames run backwards, each in its place."""
    length = int(strength)
    blocks = [np.arange(start, min(start + length, len(frames)))[::-1]
              for start in range(0, len(frames), length)]  # fmt: skip
    return frames[np.concatenate(blocks)]


def shuffle(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """A share of the frames changes places among itself."""
    count = round(len(frames) * strength)
    moved = np.sort(random.permutation(len(frames))[:count])
    order = np.arange(len(frames))
    order[moved] = random.permutation(moved)
    return frames[order]


def warp(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """An elastic distortion that stays the same; pixels of a picture 256 high."""
    field = _field(frames.shape[1:3], strength, random)
    return np.stack([_remapped(frame, field) for frame in frames])


def wobble(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """An elastic distortion as strong, another one in each frame."""
    size = frames.shape[1:3]
    return np.stack([_remapped(frame, _field(size, strength, random)) for frame in frames])


VERSION = 1  # of what is below and above: a change makes new entries in the cache
CORRUPTIONS = {
    "blur": Corruption("blurred", "sigma, px at 256", (0.5, 1, 2, 4), False, blur),
    "noise": Corruption("noised", "deviation of 255", (4, 8, 16, 32), False, noise),
    "warp": Corruption("distorted, steady", "px at 256", (1, 2, 4, 8), False, warp),
    "wobble": Corruption("distorted, each frame anew", "px at 256", (1, 2, 4, 8), False, wobble),
    "freeze": Corruption("frozen", "share of the frames", (0.25, 0.5, 0.75, 1), True, freeze),
    "shuffle": Corruption("shuffled", "share of the frames", (0.25, 0.5, 0.75, 1), True, shuffle),
    "reverse": Corruption("reversed", "frames a block", (2, 4, 8, 16), True, reverse),
}


def _field(
    size: tuple[int, int], strength: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel comes from: a smooth random displacement of this root mean square."""
    height, width = size
    coarse = random.standard_normal((8, 8, 2)).astype(np.float32)
    shift = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    shift *= strength * min(size) / 256 / np.sqrt((shift**2).sum(axis=2).mean())
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return (columns + shift[..., 0]).astype(np.float32), (rows + shift[..., 1]).astype(np.float32)


def _remapped(frame: np.ndarray, field: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return cv2.remap(frame, *field, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
