"""From opening ten million clips, at any position, to the first batch; clips a second after that.

The synthetic set has 20,000 shards of 500 clips. Its shards are links to one real shard, so every
position can be read; the trainer's own code sees nothing of that. Each start is a process of its
own, and its time includes the imports.

    python -m tests.bench.data            the figures, with the memory that the starts took
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import torch
from omegaconf import OmegaConf

from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.shards import Sample, write_manifest, write_shard
from dynamicrafter.shards.manifest import index_name
from tests.bench.data_growth import growth, raw_rate
from tests.bench.timing import Row, seconds_in_turn
from train.data import ClipWindows, EncodedClips, Positions, Window, batches, open_clips
from train.data.encoded import sides_of, write_rows

SHARDS, CLIPS = 20_000, 500
SIZE, FRAMES, BATCH, STEPS = 256, 120, 8, 20
WINDOW = Window(16, (1, 6))
CATEGORIES = ("human", "animal", "vehicle", "nature", "none")
POSITIONS = (0, 617_283, 123_456_789)  # steps; the last lies in epoch 98


def rows() -> list[Row]:
    """Starts a second, plain and balanced, the slowest counts; clips a second of one process."""
    with synthetic() as folder:
        plain = max(start(folder, step, balance=False)["seconds"] for step in POSITIONS)
        balanced = start(folder, POSITIONS[-1], balance=True)["seconds"]
        loaded, decoded = clip_rates(folder)
        kept, kept_alone = kept_rates(folder)
    return [
        Row("data: 10 M clips to first batch", 1 / plain, "starts"),
        Row("data: the same, balanced", 1 / balanced, "starts"),
        Row("data: clips from shards", loaded, "clips", "decoded alone", decoded),
        Row("data: the same, encoded before", kept, "clips", "moments alone", kept_alone),
    ]


@contextlib.contextmanager
def synthetic(shards: int = SHARDS) -> Iterator[Path]:
    """A shard folder of ten million clips, or fewer, for as long as the block lasts."""
    chance = np.random.default_rng(0)
    coarse = chance.integers(0, 255, (SIZE // 8 + FRAMES, SIZE // 8, 3), np.uint8)
    large = coarse.repeat(8, axis=0).repeat(8, axis=1)
    moving = np.stack([large[2 * i : 2 * i + SIZE] for i in range(FRAMES)])
    info = {"fps": 30.0, "frames": FRAMES, "width": SIZE, "height": SIZE}
    video = encode_mp4(moving, 30)
    samples = (
        Sample(
            f"clip-{i:06d}",
            video,
            "it moves",
            info | {"dynamic_source_category": CATEGORIES[i * i % len(CATEGORIES)]},
        )
        for i in range(CLIPS)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entry = write_shard(folder / "x-000000.tar", samples)
        entries = [entry | {"file": f"x-{number:06d}.tar"} for number in range(shards)]
        for other in entries[1:]:
            os.link(folder / entry["file"], folder / other["file"])
            os.link(folder / index_name(entry["file"]), folder / index_name(other["file"]))
        write_manifest(folder, entries, "synthetic")
        yield folder


def start(folder: Path, step: int, balance: bool, workers: int = 2) -> dict[str, float]:
    """What a fresh process takes to its first batch, that of `step`.

    Returns:
        `seconds`; `main_mib` and `worker_mib`, largest resident memory of it and of its largest
        loader process.
    """
    arguments = [str(folder), str(step), str(int(balance)), str(workers)]
    began = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-m", "tests.bench.data", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(answer.stdout)
    return {"seconds": found.pop("at") - began, **found}


def clip_rates(folder: Path) -> tuple[float, float]:
    """Clips a second, by one process: read by position, and decoded from memory alone."""
    windows = windows_of(folder, balance=False)
    places = [windows.locate(number) for number in range(BATCH * STEPS)]
    samples = [place.sample() for place in places]

    def load() -> None:
        for _ in batches(windows, Positions(0, STEPS, BATCH), workers=0):
            pass

    def decode() -> None:
        for place, sample in zip(places, samples, strict=True):
            place.data.frames.read(place.clip, sample, place.indices)

    loading, decoding = seconds_in_turn(load, decode, repeats=3)
    return len(places) / loading, len(places) / decoding


def kept_rates(folder: Path) -> tuple[float, float]:
    """Clips a second, by one process: batches with kept moments, and these read alone.

    As the released models keep them, in float32. All clips are one video, so its file is in memory:
    what is measured is the work of a core and not the disk.
    """
    chance = torch.Generator().manual_seed(0)
    windows = windows_of(folder, balance=False)
    places = [windows.locate(number) for number in range(BATCH * STEPS)]
    samples = [place.sample() for place in places]
    with tempfile.TemporaryDirectory() as name:
        encoded = EncodedClips(Path(name) / "moments", Path(name) / "texts", draws_condition=True)
        path = encoded.clip_path(places[0].data.frames.reader, places[0].clip)
        moments = torch.randn(FRAMES, 8, SIZE // 8, SIZE // 8, generator=chance)
        write_rows(path, moments, sides_of(samples[0]))
        for text in ("it moves", ""):
            write_rows(encoded.text_path(text), torch.randn(1, 77, 1024, generator=chance))

        def load() -> None:
            for batch in batches(windows.with_encoded(encoded), Positions(0, STEPS, BATCH), 0):
                assert batch.kept is not None

        def read() -> None:
            for place, sample in zip(places, samples, strict=True):
                reader, text = place.data.frames.reader, sample.text
                assert encoded.read(reader, place.clip, sample, text, place.indices) is not None

        loading, reading = seconds_in_turn(load, read, repeats=3)
    return len(places) / loading, len(places) / reading


def windows_of(folder: Path, balance: bool) -> ClipWindows:
    """The windows of the joint stage at 256."""
    config = OmegaConf.create(
        {
            "data": str(folder),
            "balance": {"column": "dynamic_source_category", "power": 0.5} if balance else None,
            "shuffle_shards": 16,
            "cache": {"folder": None, "gigabytes": 0},
            "keep_decoded": 0,
            "verify_data": False,
            "model": {"resolution": [SIZE, SIZE]},
        }
    )
    return ClipWindows(open_clips(config), 20230211, "joint", WINDOW)


def _first_batch(folder: Path, step: int, balance: bool, workers: int) -> None:
    """The work of `start`'s process."""
    ready = batches(windows_of(folder, balance), Positions(step, step + 1, BATCH), workers)
    keys = next(ready).keys
    at = time.perf_counter()  # of a clock that processes share
    assert len(keys) == BATCH
    children = [peak_mib(child.pid) for child in psutil.Process().children()]
    found = {"at": at, "main_mib": peak_mib(os.getpid()), "worker_mib": max(children, default=0)}
    sys.stdout.write(json.dumps(found))


def peak_mib(pid: int) -> int:
    """Largest resident memory; `getrusage` would count what the parent held before the exec."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024


def main() -> None:
    """Print what each start took."""
    if sys.argv[1:]:
        folder, step, balance, workers = sys.argv[1:]
        _first_batch(Path(folder), int(step), balance == "1", int(workers))
        return
    with synthetic() as folder:
        for workers in (0, 2):
            for balance in (False, True):
                for step in POSITIONS:
                    found = start(folder, step, balance, workers)
                    told = f"step {step:>11,}  workers {workers}  balanced {balance!s:<5}  "
                    sys.stdout.write(
                        f"{told}{found['seconds']:.1f} s  main {found['main_mib']} MiB  "
                        f"worker {found['worker_mib']} MiB\n"
                    )
        loaded, decoded = clip_rates(folder)
        sys.stdout.write(f"one process: {loaded:.1f} clips/s, decoded alone {decoded:.1f}\n")
        kept, alone = kept_rates(folder)
        sys.stdout.write(f"encoded before: {kept:.1f} clips/s, moments alone {alone:.1f}\n")
        with synthetic(SHARDS // 10) as tenth:
            for name, found in growth(tenth, folder).items():
                told = f"{found['clips_per_s']:.1f} clips/s, {found['mib']:.0f} MiB"
                sys.stdout.write(f"{name} of two sets, one ten times the other: {told}\n")
    rate, size = raw_rate()
    sys.stdout.write(f"a film of {size} as it was published: {rate:.2f} clips/s\n")


if __name__ == "__main__":
    main()
