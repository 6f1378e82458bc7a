"""A folder of files that is being filled, and what must come of each."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MEASURED, DROPPED, ANY, UNLISTED = "measured", "dropped", "any", "unlisted"


@dataclass(frozen=True)
class Expected:
    """What must come of a file."""

    kind: str  # the class that it is counted in
    outcome: str = ANY  # UNLISTED: it gives no row at all
    reasons: tuple[str, ...] = ()  # one of these where it is dropped
    size: tuple[int, int] | None = None  # width and height, upright
    sample: bool = False  # whether the small sample of the test holds it


os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 says nothing but errors
SAMPLE = {
    "av1.mp4", "hevc.mp4", "vp9.webm", "ten-bit.mp4", "turned-90.mp4", "hls.mp4", "ffconcat.mp4",
    "html.mp4", "elsewhere-alias.mp4", "link-outside.mp4", "link-loop.mp4", "pipe.mp4",
    "$(touch x).mp4", "new\nline.mp4", "matrix-zeros.mp4", "clock-restarts.mp4", "bomb-cmov.mp4",
}  # fmt: skip
"""Besides the first file of each kind."""

NOT_VIDEO = (DROPPED, ("not_video",))
BROKEN = (DROPPED, ("unreadable", "not_video", "no_video_stream", "bad_size", "bad_rate"))


class Corpus:
    """A folder that is being filled."""

    def __init__(self, folder: Path, canary: Path, port: int):
        self.folder, self.canary, self.port = folder, canary, port
        self.expected: dict[str, Expected] = {}
        self.kinds: dict[str, int] = {}

    def rng(self) -> np.random.Generator:
        """Draws of the next file."""
        return np.random.default_rng(len(self.expected))

    def expect(self, name: str | bytes, kind: str, outcome=ANY, reasons=(), size=None) -> Path:
        """Note what must come of a file and give its path; the first of a kind is in the sample."""
        name = os.fsdecode(name)
        assert name not in self.expected, name
        seen = self.kinds[kind] = self.kinds.get(kind, 0) + 1
        sample = (seen == 1 or name in SAMPLE) and kind != "endless"
        self.expected[name] = Expected(kind, outcome, tuple(reasons), size, sample)
        return self.folder / name

    def add(self, name: str | bytes, data: bytes, kind: str, outcome=ANY, reasons=(), size=None):
        """Write a file."""
        self.expect(name, kind, outcome, reasons, size).write_bytes(data)
