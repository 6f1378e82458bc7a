"""Small studies: images with prompts that mean harm, and methods whose videos differ in size."""

import csv
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from dynamicrafter.files import write_json
from dynamicrafter.media.encode import encode_mp4
from tests.report_folders import HOSTILE, moving_square

CONF = Path(__file__).parents[3] / "conf"
METHODS = ("zebrafinch", "quokka", "marmoset")  # names that no page holds by chance
PROMPTS = ("A square moves to the right over a plain ground.", HOSTILE)


def make_images(folder: Path, count: int, size: int = 64) -> Path:
    """A CSV of images with prompts, keys `clip-000` and on."""
    folder.mkdir(parents=True)
    with (folder / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "prompt", "key"])
        for index in range(count):
            frame = moving_square(index, 1, size)[0]
            Image.fromarray(frame).save(folder / f"{index}.png")
            writer.writerow([f"{index}.png", PROMPTS[index % 2], f"clip-{index:03d}"])
    return folder / "items.csv"


def make_videos(
    folder: Path, count: int, shade: int, size: int = 64, frames: int = 6, fps: int = 8
) -> Path:
    """A folder of videos by key; `shade` is added to the colours, so that methods differ."""
    folder.mkdir(parents=True)
    for index in range(count):
        video = moving_square(index, frames, size).astype(int) + shade
        data = encode_mp4(np.clip(video, 0, 255).astype(np.uint8), fps)
        (folder / f"clip-{index:03d}.mp4").write_bytes(data)
    return folder


def make_run(folder: Path, images: Path, count: int, shade: int, size: int = 64) -> Path:
    """A finished run of `animate` over the images."""
    make_videos(folder / "videos", count, shade, size)
    items = [
        {"key": f"clip-{index:03d}", "prompt": PROMPTS[index % 2],
         "video": f"videos/clip-{index:03d}.mp4"}
        for index in range(count)
    ]  # fmt: skip
    write_json(folder / "items.json", {"settings": {"fps": 8}, "items": items})
    write_json(folder / "run.json", {"config": {"image": str(images), "prompt": None}})
    write_json(folder / "done.json", {"digest": f"{shade}", "summary": {}})
    return folder


def make_methods(root: Path, count: int, methods: int = 3, size: int = 64) -> dict[str, str]:
    """Folders by method name: the first a run of `animate`, the others folders of videos."""
    images = make_images(root / "images", count, size)
    made = {METHODS[0]: make_run(root / METHODS[0], images, count, 0, size)}
    for index, name in enumerate(METHODS[1:methods], start=1):
        longer, rate = 6 + 6 * index, 8 + 4 * index
        shade = 25 * index
        made[name] = make_videos(root / name, count, shade, size + 32 * index, longer, rate)
    return {name: str(folder) for name, folder in made.items()}


def config_for(name: str, **settings: object) -> DictConfig:
    """A command's config without Hydra's own parts; nothing is tracked unless asked for."""
    own = OmegaConf.load(CONF / f"{name}.yaml")
    shared = OmegaConf.load(CONF / "command.yaml")
    for part in (own, shared):
        part.pop("defaults")
    shared.pop("hydra")
    shared.tracking = OmegaConf.load(CONF / "tracking" / "disabled.yaml")
    return OmegaConf.merge(shared, own, settings)


def study_config(methods: dict[str, str], **settings: object) -> DictConfig:
    """The config of a small study, read in this process."""
    small = {"questions": 6, "checks": 1, "participants": 4, "short_side": 64, "workers": 0}
    return config_for("eval_study", **{"methods": methods, **small, **settings})
