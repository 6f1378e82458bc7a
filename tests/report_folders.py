"""Small but whole run folders for the tests of the report, with captions that mean harm."""

import io
import json
import math
from collections.abc import Collection
from pathlib import Path

import av
import numpy as np
import pyarrow
import pyarrow.parquet
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from dynamicrafter.files import write_json
from dynamicrafter.shards import Sample, write_shards
from eval import results

HOSTILE = '</script><img src=x onerror="alert(1)"><b>"quoted" & \'it\'s\'</b>'


def mp4(frames: np.ndarray, fps: int) -> bytes:
    """H.264 of uint8 [t, h, w, 3]."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def moving_square(seed: int, frames: int = 16, size: int = 64) -> np.ndarray:
    """A light square that crosses a coloured ground, uint8 [t, size, size, 3]."""
    generator = np.random.default_rng(seed)
    video = np.empty((frames, size, size, 3), np.uint8)
    video[:] = generator.integers(20, 160, 3)
    top = int(generator.integers(4, size - 20))
    for index in range(frames):
        left = (index * 3 + seed * 7) % (size - 16)
        video[index, top : top + 16, left : left + 16] = 235
    return video


def make_curate(
    folder: Path,
    captions: list[tuple[str, str]],
    source: str = "a film",
    frames: int = 16,
    short: Collection[int] = (),
    may_be_passed_on: bool = True,
) -> Path:
    """A curate run whose clips carry `captions` (old, new); every third one is held out.

    The clips numbered in `short` have 12 frames instead of `frames`.
    """
    samples = {"train": [], "test": []}
    decisions = []
    for index, (old, new) in enumerate(captions):
        split = "test" if index % 3 == 2 else "train"
        length = 12 if index in short else frames
        info = {
            "fps": 24.0, "frames": length, "width": 64, "height": 64, "name": old,
            "dynamic_wording": new, "dynamic_confidence": 40 + index,
            "dynamic_source_category": "person",
            "source": {"name": source, "attribution": f"{source}, its makers, CC BY 3.0",
                       "media_may_be_passed_on": may_be_passed_on},
        }  # fmt: skip
        key = f"clip-{index:03d}"
        video = mp4(moving_square(index, length), 24)
        samples[split].append(Sample(key, video, new, info))
        decisions.append({"key": key, "kept": True, "reason": None, "split": split})
    decisions.append(
        {"key": "clip-twin", "kept": False, "reason": "near_duplicate", "split": "train"}
    )
    for split, chosen in samples.items():
        write_shards(folder / "dataset" / split, chosen, name="clips", config_digest="test")
    count = len(captions)
    funnel = {
        "steps": [
            {"name": "unreadable", "in": count + 5, "out": count + 4, "dropped": 1},
            {"name": "still", "in": count + 4, "out": count + 1, "dropped": 3},
            {"name": "near_duplicate", "in": count + 1, "out": count, "dropped": 1},
        ],
        "reasons": {"still": 3, "near_duplicate": 1, "no_video_stream": 1},
        "kept": {split: len(chosen) for split, chosen in samples.items()},
    }
    write_json(folder / "funnel.json", funnel)
    table = pyarrow.Table.from_pylist(decisions)
    pyarrow.parquet.write_table(table, folder / "decisions.parquet")
    return _done(folder)


def make_train(folder: Path, notes: list[str]) -> Path:
    """A train run of three stages with losses that fall."""
    stages = []
    for number, name in enumerate(("context", "image-to-video", "joint")):
        losses = [
            1.1 * math.exp(-step / 60) + 0.08 + 0.03 * math.sin(step * 2.3) for step in range(200)
        ]
        rows = [
            {"step": step, "loss": loss, "learning_rate": 1e-4, "gradient_norm": 0.5,
             "samples_seen": 8 * (step + 1), "seconds": step * 0.3}
            for step, loss in enumerate(losses)
        ]  # fmt: skip
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path = folder / "stages" / f"{number + 1:02d}-{name}" / "metrics.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text(lines)
        stages.append(
            {"name": name, "steps": 200, "first_loss": losses[0], "last_loss": losses[-1],
             "seconds": 61.2, "trainable_parameters": 1_200_000 * (number + 1),
             "frozen_parameters": 3_100_000}
        )  # fmt: skip
    autoencoder = {"psnr_db": 24.63, "frames": 128}
    write_json(
        folder / "summary.json", {"stages": stages, "autoencoder": autoencoder, "notes": notes}
    )
    frames = np.concatenate([moving_square(seed, 1)[0] for seed in range(8)], axis=1)
    Image.fromarray(np.concatenate([frames, frames // 2 + 40])).save(folder / "reconstruction.png")
    return _done(folder)


def make_animate(folder: Path, prompts: list[str]) -> Path:
    """An animate run with one video for each prompt."""
    items = []
    for index, prompt in enumerate(prompts):
        key = f"clip-{3 * index + 2:03d}"
        video = folder / "videos" / f"{key}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        video.write_bytes(mp4(moving_square(3 * index + 2)[:, ::-1], 8))
        items.append({"key": key, "prompt": prompt, "video": f"videos/{key}.mp4", "seed": index})
    settings = {"steps": 25, "guidance": 7.5, "eta": 1.0, "frame_stride": 3, "size": 64}
    write_json(folder / "items.json", {"settings": settings, "items": items})
    return _done(folder)


def make_eval(folder: Path, prompts: list[str], reason: str, may_be_passed_on: bool = True) -> Path:
    """An eval run: one absent metric (for `reason`), unreliable ones, one with an interval."""
    count = {"real": len(prompts), "generated": len(prompts)}
    few = f"{len(prompts)} samples are fewer than the network's 400 features"
    network = "I3D tfhub (1254ffbff2e6)"
    rows = [
        results.Row("fvd", "FVD, generated against real", 1843.21, count=count, network=network,
                    reason=few),
        results.Row("fvd_real", "FVD, real against real", 612.4, count={"real": 2 * len(prompts)},
                    network=network, reason=few),
        results.Row("kvd", "KVD, generated against real", 21.734, (12.1, 33.9), count=count,
                    network=network, reason=few),
        results.Row("pic", "PIC", count=count, network="DreamSim ensemble", reason=reason),
        results.Row("motion_generated", "Motion, generated", 0.1834, (0.12, 0.25),
                    "frame diagonals per second", {"generated": len(prompts)}, reliable=True),
    ]  # fmt: skip
    protocol = {
        "name": "demo", "digest": "f3a1" * 16, "frames": 16, "stride": 3, "resolution": 64,
        "covariance": "unbiased",
    }  # fmt: skip
    pairs = []
    for index, prompt in enumerate(prompts):
        key = f"clip-{3 * index + 2:03d}"
        square = moving_square(3 * index + 2)
        paths = []
        for kind, frames in (("real", square), ("generated", square[:, ::-1])):
            path = folder / kind / f"{key}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(mp4(frames, 8))
            paths.append(f"{kind}/{key}.mp4")
        pairs.append(results.Pair(key, prompt, *paths, may_be_passed_on=may_be_passed_on))
    dropped = [
        results.Dropped(f"clip-{index:03d}", "reference", "shorter than the 46 frames of a window")
        for index in (20, 23)
    ]
    results.write(folder, results.Results(protocol, rows, pairs, dropped))
    return _done(folder)


def make_all(root: Path, hostile: str = HOSTILE, may_be_passed_on: bool = True) -> DictConfig:
    """The four run folders below `root` and the report's configuration for them."""
    captions = [(f"stock caption {i}", f"A square moves to the right, take {i}.") for i in range(6)]
    captions[0] = (hostile, "A square moves.")
    captions[2] = ("a plain caption", hostile)
    prompts = [new for _, new in captions[2::3]]
    make_curate(root / "curate", captions, source=f"film {hostile}",
                may_be_passed_on=may_be_passed_on)  # fmt: skip
    make_train(root / "train", [f"text encoder: random weights {hostile}"])
    make_animate(root / "animate", prompts)
    make_eval(root / "eval", prompts, f"weights not found: {hostile}", may_be_passed_on)
    folders = {verb: str(root / verb) for verb in ("curate", "train", "animate", "eval")}
    return OmegaConf.create(
        {**folders, "title": "A run", "clips": 6, "pairs": 4, "megabytes": 25, "allow_media": False}
    )


def _done(folder: Path) -> Path:
    write_json(folder / "done.json", {"digest": "test", "summary": {}, "seconds": 1})
    return folder
