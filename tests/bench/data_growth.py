"""Does a larger data set cost more a clip? And what does a film as it was published cost?

python -m tests.bench.data_growth FOLDER    (its own use) rate and memory of one shard folder
"""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from dynamicrafter import assets
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.probe import open_video
from tests.bench.timing import seconds_in_turn

TURNS = 3
FILM = "big-buck-bunny"


def growth(small: Path, large: Path) -> dict[str, dict[str, float]]:
    """Clips a second and MiB of a process that reads each folder, medians of turns."""
    found: dict[str, list[dict[str, float]]] = {"small": [], "large": []}
    for _ in range(TURNS):
        for name, folder in (("small", small), ("large", large)):
            answer = subprocess.run(
                [sys.executable, "-m", "tests.bench.data_growth", str(folder)],
                capture_output=True,
                text=True,
                check=True,
            )
            found[name].append(json.loads(answer.stdout))
    return {
        name: {key: sorted(one[key] for one in told)[TURNS // 2] for key in told[0]}
        for name, told in found.items()
    }


def raw_rate() -> tuple[float, str]:
    """Clips of 16 frames a second of one core, from a film as it was published; its size."""
    (film,) = assets.fetch([FILM])
    with open_video(film) as (_, stream):
        size = f"{stream.codec_context.width}x{stream.codec_context.height}"
    starts = itertools.count(1000, 700)

    def read() -> None:
        begin = next(starts)
        frames = read_frames(film, range(begin, begin + 48, 3), 256)
        assert frames.shape[0] == 16

    (seconds,) = seconds_in_turn(read, repeats=9)
    return 1 / seconds, size


def main() -> None:
    """Read some clips of a folder, at places far apart."""
    from tests.bench.data import BATCH, STEPS, peak_mib, windows_of
    from train.data import Positions, batches

    windows = windows_of(Path(sys.argv[1]), balance=False)
    ready = batches(windows, Positions(0, 3 * STEPS, BATCH), workers=0)
    next(ready)
    began, read = time.perf_counter(), 0
    for batch in ready:
        read += len(batch.keys)
    rate = read / (time.perf_counter() - began)
    sys.stdout.write(json.dumps({"clips_per_s": rate, "mib": peak_mib(os.getpid())}))


if __name__ == "__main__":
    main()
