"""The videos that an evaluation shows: a few generated ones, each with its real one."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dynamicrafter.ahead import cores
from dynamicrafter.features.cache import load_or_compute
from dynamicrafter.files import sha256_file, sha256_json, write_bytes
from dynamicrafter.media import encode
from eval.methods import Method
from eval.results import Pair
from eval.samples import Sample
from eval.windows import Window

TELLING = {"pic": "PIC", "clip_sim": "CLIP-SIM", "motion_generated": "motion"}  # examples by these


def keep_pairs(
    compared: Sequence[Sample],
    per_video: Mapping[str, np.ndarray],
    count: int,
    method: Method,
    folder: Path,
    cache: Path,
) -> list[Pair]:
    """Copy videos for the page: the first ones, and the lowest and highest of telling metrics.

    Args:
        compared: the samples.
        per_video: their values `[n]` by metric.
        count: how many of the first ones; 0 keeps none at all.
        method: whose videos these are.
        folder: of the run; the videos come into `generated/` and `real/`.
        cache: the folder of the features, where windows that were encoded stay known.
    """
    why: dict[int, list[str]] = {index: [] for index in range(min(count, len(compared)))}
    for metric, name in TELLING.items():
        values = per_video.get(metric)
        if count and values is not None and len(values) > 2:
            why.setdefault(int(values.argmin()), []).append(f"lowest {name}")
            why.setdefault(int(values.argmax()), []).append(f"highest {name}")

    def keep(index: int) -> Pair:
        return _keep_pair(compared[index], ", ".join(why[index]), method, folder, cache)

    with ThreadPoolExecutor(cores()) as threads:
        return list(threads.map(keep, sorted(why)))


def _keep_pair(sample: Sample, why: str, method: Method, folder: Path, cache: Path) -> Pair:
    generated, real = f"generated/{sample.key}.mp4", f"real/{sample.key}.mp4"
    if method.foreign:
        own = _encoded(sample.generated, sample.fps, cache)
    else:
        own = method.videos[sample.key].read_bytes()
    write_bytes(folder / generated, own)
    if sample.real is not None:
        write_bytes(folder / real, _encoded(sample.real, sample.fps, cache))
    return Pair(
        sample.key,
        sample.prompt or "",
        real if sample.real is not None else None,
        generated,
        sample.may_be_passed_on,
        why,
    )


def _encoded(window: Window, fps: float, cache: Path) -> bytes:
    """A window as an mp4 file; the module that encodes stands in the key with its own text."""
    key = sha256_json([window.content(), "mp4", sha256_file(encode.__file__), fps])

    def encoded() -> dict[str, np.ndarray]:
        return {"mp4": np.frombuffer(encode.encode_mp4(window.read(), fps), np.uint8)}

    return load_or_compute(cache, key, encoded)["mp4"].tobytes()
