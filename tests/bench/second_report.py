"""How long does a report take whose features are all in the cache? By the clock, imports included.

python -m tests.bench.second_report [--videos 2048] [--kilobytes 100] [--turns 5]

The features are those of stand-ins of I3D, LPIPS and motion, of full rank and in I3D's dimensions:
a second report runs no network, so it takes as long as with the real ones. Beside each turn stands
how long Python takes to import torch, which says how fast the machine is at the moment.
"""

import argparse
import contextlib
import dataclasses
import functools
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from hydra import compose, initialize_config_module

from dynamicrafter.draws import generator
from dynamicrafter.features.network import Network
from dynamicrafter.files import sha256_bytes
from dynamicrafter.media.encode import encode_mp4
from eval import networks, pipeline

SIDE, FRAMES = 64, 16


def main() -> None:
    """Make the videos, fill the cache, and time the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=2048, help="of either side")
    parser.add_argument("--kilobytes", type=int, default=100, help="that each is to have")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed, side in enumerate(("real", "theirs")):
            make_videos(folder / side, seed, arguments.videos, arguments.kilobytes * 1000)
        fill_cache(folder)
        turns = [(report(folder, turn), import_torch()) for turn in range(arguments.turns)]
    for seconds, torch in turns:
        print(f"{seconds:.2f} s, torch {torch:.2f} s")  # noqa: T201
    print(f"median {statistics.median(seconds for seconds, _ in turns):.2f} s")  # noqa: T201


def make_videos(folder: Path, seed: int, count: int, size: int) -> None:
    """Coloured tiles that move, each video in a direction of its own.

    They are small, to be decoded quickly; a box of noise behind brings each to `size` bytes, since
    a report reads them all to know them by their contents.
    """
    folder.mkdir()
    for number in range(count):
        draws = generator(seed, number, "tiles")
        tiles = draws.integers(256, size=(8, 8, 3), dtype=np.uint8)
        picture = tiles.repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1)
        step = draws.integers(-3, 4, size=2)
        frames = [np.roll(picture, tuple(step * t), axis=(0, 1)) for t in range(FRAMES)]
        video = encode_mp4(np.stack(frames), 8.0)
        noise = draws.bytes(max(size - len(video) - 8, 0))
        box = struct.pack(">I4s", len(noise) + 8, b"free") + noise
        (folder / f"video-{number:05d}.mp4").write_bytes(video + box)


def settings(folder: Path, run: str) -> list[str]:
    """Of the command, whose features lie in the one cache."""
    return [
        f"reference={folder}/real",
        "second_reference=null",
        f"generated={folder}/theirs",
        "protocol.name=small",
        "protocol.stride=1",
        f"protocol.resolution=[{SIDE},{SIDE}]",
        "tracking=disabled",
        f"features={folder}/features",
        f"run_dir={folder}/{run}",
    ]


def fill_cache(folder: Path) -> None:
    """The first report, with stand-ins under the names of the networks."""
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("eval", settings(folder, "first"))
    with (
        stand_in("i3d_network", noise),
        stand_in("lpips_network", apart_from_first),
        stand_in("motion_network", lambda windows: noise(windows)[:, :1] ** 2),
    ):
        pipeline.run(config, folder / "first")


def stand_in(
    name: str, see: Callable[[np.ndarray], np.ndarray]
) -> contextlib.AbstractContextManager[object]:
    """In place of the network that a function of `eval.networks` gives, one that sees by `see`."""
    real = getattr(networks, name)

    @functools.wraps(real)
    def network(*arguments: object, **named: object) -> Network:
        return dataclasses.replace(real(*arguments, **named), load=lambda device: see)

    return mock.patch.object(networks, name, network)


def noise(windows: np.ndarray) -> np.ndarray:
    """Normal, `[b, 400]`, by the content of a window; brighter ones lie elsewhere."""
    seeds = [int(sha256_bytes(window.tobytes())[:12], 16) for window in windows]
    drawn = np.stack([generator(seed, 0, "noise").standard_normal(400) for seed in seeds])
    return (drawn + windows.mean(axis=(1, 2, 3)).sum(axis=1)[:, None] / 255).astype(np.float32)


def apart_from_first(windows: np.ndarray) -> np.ndarray:
    """`[b, t]`, as LPIPS gives it."""
    videos = windows.astype(np.float32) / 255
    return np.abs(videos - videos[:, :1]).mean(axis=(2, 3, 4))


def report(folder: Path, turn: int) -> float:
    """Seconds of the whole command."""
    command = [sys.executable, "-m", "eval", *settings(folder, f"again-{turn}")]
    return seconds_of(command)


def import_torch() -> float:
    """Seconds of a Python that imports torch and nothing else."""
    return seconds_of([sys.executable, "-c", "import torch"])


def seconds_of(command: list[str]) -> float:
    """Of a command that must end well."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
