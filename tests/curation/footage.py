"""What measures see, made from frames or from a demo clip."""

import cv2
import numpy as np

from curation.measures.contract import SAMPLES_PER_SECOND, Footage
from dynamicrafter import assets
from dynamicrafter.media.decode import read_frames


def footage(frames, caption="none"):
    """Footage of RGB frames, `tiny` and `frames` the same ones."""
    times = [i / SAMPLES_PER_SECOND for i in range(len(frames))]
    return Footage(list(frames), times, [tiny(frame) for frame in frames], caption)


def tiny(frame):
    height, width = frame.shape[:2]
    scale = 72 / min(height, width)
    size = (round(width * scale), round(height * scale))
    return np.ascontiguousarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA)[..., ::-1])


def demo_footage(name, count=16, caption="none"):
    """Two seconds from a demo clip; tests of it are `network`."""
    (path,) = assets.fetch([name])
    return footage(read_frames(path, np.arange(count) * 3, short_side=256), caption)


def texture(seed, size=(128, 224)):
    """A picture of smooth blobs, 60 ± 30 to 190 ± 30 bright."""
    noise = np.random.default_rng(seed).random((*size, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 4)
    noise = (noise - noise.mean()) / noise.std()
    return np.clip(125 + 40 * noise, 0, 255).astype(np.uint8)
