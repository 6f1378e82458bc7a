"""Decoding a real clip to the size that curation works at, beside decoding it and nothing else."""

import itertools
from pathlib import Path

from dynamicrafter.media.decode import iterate_frames, read_frames
from dynamicrafter.media.probe import open_video
from tests.bench.timing import Row, seconds_in_turn

FRAMES = 60
SHORT_SIDE = 256


def rows(clip: Path) -> list[Row]:
    """One row for a pass in sequence (PyAV), one for frames by number (decord)."""
    in_sequence, by_number, plain = seconds_in_turn(
        lambda: list(itertools.islice(iterate_frames(clip, short_side=SHORT_SIDE), FRAMES)),
        lambda: read_frames(clip, range(FRAMES), SHORT_SIDE),
        lambda: decode_plainly(clip),
        repeats=3,
    )
    return [
        Row(f"decode {how}", FRAMES / seconds, "frames", "PyAV unresized", FRAMES / plain)
        for how, seconds in (("in sequence", in_sequence), ("by number", by_number))
    ]


def decode_plainly(clip: Path) -> None:
    """The first frames as the decoder leaves them: full size, YUV, one thread."""
    with open_video(clip) as (opened, stream):
        for _ in itertools.islice(opened.decode(stream), FRAMES):
            pass
