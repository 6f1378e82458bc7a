"""`python -m tests.gpu.features OUT.json`: I3D features from files, and what holds them up.

Rates in clips of 16 frames a second: the network on windows in memory, in several ways of
computing, each with how far its logits stray from plain float32; decoding of mp4 files by worker
processes, as evaluation does it; and both together, which should be no less than 0.8 of the slower
one alone. The first clips of a pass, while processes start, do not count; a last rate, of an
evaluation's features from an empty cache to a full one, counts all. Makes its own videos. Without
the I3D asset the weights are random but fixed: the rates are the same. Without a GPU it runs on a
few clips, to see that it runs.
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dynamicrafter import draws
from dynamicrafter.ahead import ahead, cores
from dynamicrafter.assets import load_manifest
from dynamicrafter.assets.store import location
from dynamicrafter.features import I3D_ASSET
from dynamicrafter.features.i3d import EPSILON, SIZE, load_i3d
from dynamicrafter.features.layers.i3d import I3D
from dynamicrafter.features.network import Extract, Network, extractor
from dynamicrafter.features.preprocess import preprocess
from dynamicrafter.files import file_digest, write_json
from dynamicrafter.media.encode import encode_mp4
from eval.decoding import decoded
from eval.extract import Features
from eval.windows import VideoFile, Window

FRAMES, STRIDE, SIDE = 16, 3, 256
RULE = "direct_bilinear_halfpixel"
BAR = 0.8
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
HAS_DECORD = importlib.util.find_spec("decord") is not None


@dataclass(frozen=True)
class Way:
    """A way of computing the same logits."""

    name: str
    tf32: bool = False
    channels_last: bool = False


PLAIN = Way("float32")
WAYS = (
    PLAIN,
    Way("TF32, channels last", tf32=True, channels_last=True),
)


@dataclass(frozen=True)
class Bytes:
    """A video file that is decoded from memory, by PyAV."""

    path: Path

    def data(self) -> bytes:
        """The mp4 file."""
        return self.path.read_bytes()

    def digest(self) -> str:
        """Of the file."""
        return file_digest(self.path)


def main() -> None:
    """Measure and write the rates."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.features", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=4096 if CUDA else 4, help="to decode")
    parser.add_argument("--batch", type=int, default=16 if CUDA else 1)
    parser.add_argument("--workers", type=int, default=max(1, cores() - 1))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), arguments)
    write_json(arguments.out, result)


def measure(folder: Path, arguments: argparse.Namespace) -> dict:
    """All rates, in clips a second, each told when it is found."""
    batch, workers = arguments.batch, arguments.workers
    model, weights = network()
    name = torch.cuda.get_device_name() if CUDA else "cpu"
    tell(f"{name}, torch {torch.__version__}, batch {batch}, weights: {weights}")
    windows = np.stack([frames(video, FRAMES) for video in range(2 * batch)])
    rounds = 10 if CUDA else 1
    alone = [compare(way, model, windows, batch, rounds) for way in WAYS]
    videos = make_videos(folder)
    clips = [window(videos, index) for index in range(arguments.clips)]
    decoding = rate(clips, batch, workers, lambda part: part)
    tell(f"decoding ({workers} workers): {decoding:.1f} clips/s")
    together = []
    for way, found in zip(WAYS, alone, strict=True):
        both = rate(clips, batch, workers, ready(way, model, batch))
        slower = min(decoding, found["clips_per_s"])
        bottleneck = "decoding" if decoding == slower else "network"
        tell(
            f"together, {way.name}: {both:.1f} clips/s, bottleneck {bottleneck}, "
            f"{both / slower:.2f} of it alone (bar {BAR})"
        )
        together.append(
            {
                "way": way.name,
                "clips_per_s": both,
                "bottleneck": bottleneck,
                "of_the_slower_alone": both / slower,
            }
        )
    evaluation = evaluation_rate(clips, folder, arguments, model)
    tell(f"an evaluation, all counted: {evaluation:.1f} clips/s")
    return {
        "device": name,
        "torch": torch.__version__,
        "weights": weights,
        "batch": batch,
        "clips": len(clips),
        "workers": workers,
        "network": alone,
        "decoding_clips_per_s": decoding,
        "together": together,
        "evaluation_clips_per_s": evaluation,
        "bar": BAR,
    }


def tell(line: str) -> None:
    """Print a line at once: whoever ends a run keeps what it found until then."""
    print(line, flush=True)  # noqa: T201


def network() -> tuple[I3D, str]:
    """The network, and what its weights are."""
    asset = location(load_manifest()[I3D_ASSET])
    if asset.is_file():
        return load_i3d(asset, device=DEVICE), I3D_ASSET
    model = I3D(EPSILON["tfhub"])
    for number, parameter in enumerate(model.parameters()):
        if parameter.ndim > 1:  # so that a signal keeps its size on the way
            scale = (2 / parameter[0].numel()) ** 0.5
            parameter.data = scale * draws.normal(0, number, "weights", tuple(parameter.shape))
    return model.eval().requires_grad_(False).to(DEVICE), "random"


def ready(way: Way, model: I3D, batch: int) -> Extract:
    """The extractor of one way of computing; it leaves the model's weights in that layout."""
    layout = torch.channels_last_3d if way.channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)

    def run(part: torch.Tensor) -> torch.Tensor:
        return model(preprocess(part, RULE, SIZE).contiguous(memory_format=layout))[0]

    return extractor(run, DEVICE, batch, way.tf32)


def compare(way: Way, model: I3D, windows: np.ndarray, batch: int, rounds: int) -> dict:
    """Rate and difference of one way: windows in memory to logits in memory."""
    plain = ready(PLAIN, model, batch)(windows)
    extract = ready(way, model, batch)
    found = extract(windows)  # compiles, and chooses its kernels
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        extract(windows)
        seconds.append(time.perf_counter() - began)
    clips_per_s = len(windows) / statistics.median(seconds)
    largest = float(np.abs(found - plain).max())
    relative = float(np.linalg.norm(found - plain) / np.linalg.norm(plain))
    tell(
        f"{way.name}: {clips_per_s:.1f} clips/s, logits within {largest:.2g} "
        f"({relative:.2g} relative)"
    )
    return {
        "way": way.name,
        "clips_per_s": clips_per_s,
        "largest_difference": largest,
        "relative_difference": relative,
    }


def window(videos: list[Path], index: int) -> Window:
    """Number `index`: of the videos in turn, each a window of its own for the cache."""
    path = videos[index % len(videos)]
    video = VideoFile(path) if HAS_DECORD else Bytes(path)
    return Window(str(index), video, 0, FRAMES, STRIDE, (SIDE, SIDE), fps=8 + index)


def rate(
    clips: list[Window], batch: int, workers: int, work: Callable[[np.ndarray], object]
) -> float:
    """Clips a second from files through `work`, once each process has delivered a batch."""
    counted, began = 0, time.perf_counter()
    uncounted = min(workers, len(clips) // batch - 1)
    for number, (_, frames) in enumerate(ahead(decoded(clips, batch, workers, DEVICE))):
        work(frames)
        if number >= uncounted:
            counted += len(frames)
        else:
            began = time.perf_counter()
    return counted / (time.perf_counter() - began)


def evaluation_rate(
    clips: list[Window], folder: Path, arguments: argparse.Namespace, model: I3D
) -> float:
    """Clips a second of an evaluation: digests, processes, features, and the cache filled."""
    network = Network("i3d", "bench", RULE, lambda _: ready(PLAIN, model, arguments.batch))
    store = Features(folder / "cache", arguments.batch, arguments.workers, str(DEVICE))
    began = time.perf_counter()
    found = store.of(clips, [network], "evaluation")["i3d"]
    assert len(found) == len(clips)
    return len(clips) / (time.perf_counter() - began)


def make_videos(folder: Path, count: int = 8) -> list[Path]:
    """mp4 files of 256x256 in which a picture moves under noise."""
    paths = []
    for video in range(count):
        path = folder / f"{video}.mp4"
        path.write_bytes(encode_mp4(moving(video, FRAMES * STRIDE), 24))
        paths.append(path)
    return paths


def frames(video: int, count: int) -> np.ndarray:
    """The first frames of a video, uint8 `[t, 256, 256, 3]`."""
    return np.stack(list(moving(video, count)))


def moving(video: int, count: int) -> Iterator[np.ndarray]:
    """Frames uint8 `[256, 256, 3]`: a blurred picture that slides, and some noise."""
    chance = draws.generator(0, video, "frames")
    coarse = chance.integers(0, 256, (SIDE // 16, SIDE // 16, 3))
    picture = np.kron(coarse, np.ones((16, 16, 1))).astype(np.int16)
    for number in range(count):
        noise = chance.integers(-12, 13, picture.shape, dtype=np.int16)
        moved = np.roll(picture, (number * (video % 5 - 2), 2 * number), axis=(0, 1))
        yield np.clip(moved + noise, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
