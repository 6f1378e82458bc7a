"""Files that last longer than a span, and times that jump."""

import numpy as np

from tests.curation.hostile.corpus import DROPPED, MEASURED, Corpus
from tests.curation.hostile.encoding import audio_only, video
from tests.curation.hostile.mp4_boxes import edited, u32


def long_ones(corpus: Corpus, land: np.ndarray) -> None:
    """More than a span of 60 s, where seeking is easy, hard or impossible."""
    still = np.repeat(land[::2, ::2, ::2], 20, axis=0)[
        :, :48, :80
    ]  # 600 frames, 75 s at 8 a second
    moving = np.stack([np.roll(frame, i % 80, axis=1) for i, frame in enumerate(still)])
    kinds = {
        "long.mp4": ("libx264", "mp4"), "long.mkv": ("libx264", "matroska"),
        "long.avi": ("mpeg4", "avi"), "long.ts.mp4": ("libx264", "mpegts"),
        "long.mpg": ("mpeg1video", "mpeg"),
    }  # fmt: skip
    for name, (codec, container) in kinds.items():
        fps = 25 if container == "mpeg" else 8
        frames = np.concatenate([moving] * 3) if container == "mpeg" else moving
        data = video(frames, codec, container, fps=fps)
        corpus.add(name, data, "long", MEASURED, size=(80, 48))
        if container == "avi":
            without = data[: data.rindex(b"idx1")] + b"JUNK" + data[data.rindex(b"idx1") + 4 :]
            corpus.add("long-without-index.avi", without, "long", MEASURED, size=(80, 48))
        if container == "matroska":
            at = data.rindex(b"\x1c\x53\xbb\x6b")
            without = data[:at] + b"\xec" + bytes([0x40, 0]) + data[at + 3 :]
            corpus.add("long-without-cues.mkv", data[:at], "long", MEASURED, size=(80, 48))
            corpus.add("long-broken-cues.mkv", without, "long", size=None)
        if container == "mp4":
            corpus.add("long-sync.mp4", edited(data, b"stss", lambda _: u32(0, 1, 1)), "long",
                       MEASURED, size=(80, 48))  # fmt: skip
            corpus.add("long-no-sync.mp4", edited(data, b"stss", lambda _: u32(0, 0)), "long")
    half = video(moving[:300], container="mpegts", fps=8)
    late = half + audio_only("mpegts", "aac")
    corpus.add("stream-begins-late.mp4", late, "long")
    corpus.add("clock-restarts.mp4", half + half, "times")
    gap = [i if i < 100 else i + 1000 for i in range(200)]
    uneven = (DROPPED, ("bad_rate", "too_short"))
    corpus.add("gap.mp4", video(moving[:200], fps=8, times=gap), "variable rate", *uneven)
    late = [i if i < 3 else i + 700 for i in range(200)]
    data = video(moving[:200], fps=8, times=late, container="matroska")
    corpus.add("late.mkv", data, "variable rate", MEASURED, size=(80, 48))
    week = edited(video(moving[:100], fps=8), b"stts", lambda _: u32(0, 2, 99, 2048, 1, 2**31 - 1))
    corpus.add("one-frame-lasts-days.mp4", week, "times")
