"""What to animate: one image, a folder of images, a CSV of pairs, or the first frames of shards.

Images of any aspect are fitted by one rule: the short side is scaled to the model's, the centre is
cut out. CSV columns are `image` (a path beside the CSV) and `prompt`, optionally `key`.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dynamicrafter import files
from dynamicrafter.errors import InputError
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.sampling import center_crop
from dynamicrafter.shards import ShardReader, sample_key

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
LARGEST_IMAGE = 64_000_000  # pixels; larger files are refused before they are decoded


@dataclass(frozen=True, eq=False)
class Item:
    """One thing to animate: its key names the output, its image is uint8 `[h, w, 3]`."""

    key: str
    image: np.ndarray
    prompt: str


def digest(images: str) -> str:
    """Digest of everything that `images` names: of a CSV the images too."""
    path = Path(images)
    if _is_shard_folder(path):
        return ShardReader(path).digest
    named = [[key, files.sha256_file(file), prompt] for key, file, prompt in _pairs(path)]
    return files.sha256_json(named)


def read_items(
    images: str, prompt: str | None, count: int | None, size: tuple[int, int]
) -> list[Item]:
    """The items that `images` names, at most `count`, fitted to `size` (height, width).

    Args:
        images: an image, a folder of images, a CSV, or a shard folder.
        prompt: the prompt of images that bring none of their own; for items that bring one, None.
        count: how many of them, in order, at least 1; None for all.
        size: height and width in pixels.

    Raises:
        InputError: nothing to animate, a broken image, a missing prompt.
    """
    if count is not None and count < 1:
        raise InputError(f"count is {count}; it must be at least 1, or null for all")
    path = Path(images)
    if _is_shard_folder(path):
        return _shard_items(ShardReader(path), prompt, count, size)
    return [
        Item(key, fit(_open(file), size), _prompt(own or prompt, key))
        for key, file, own in _pairs(path)[:count]
    ]


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale the short side, cut out the centre: uint8 `[h, w, 3]` → `[*size, 3]`."""
    return center_crop(image[None], size)[0]


def _shard_items(reader, prompt, count, size) -> list[Item]:
    items = []
    for number in range(len(reader))[:count]:
        sample = reader[number]
        first = read_frames(sample.video, [0])
        items.append(Item(sample.key, fit(first[0], size), prompt or sample.text))
    return items


def _pairs(path: Path) -> list[tuple[str, Path, str | None]]:
    """Key, image file and own prompt of each item; every file is there, every key once."""
    if not path.exists():
        raise InputError(f"images={path}: no such image, folder or CSV")
    if path.suffix.lower() == ".csv":
        pairs = _csv_pairs(path)
    elif path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        pairs = [(sample_key(p.stem), p, None) for p in found]
    else:
        pairs = [(sample_key(path.stem), path, None)]
    if not pairs:
        raise InputError(f"images={path}: no image there")
    for _, file, _ in pairs:
        if not file.is_file():
            raise InputError(f"{file}: no such image")
    counts = Counter(key for key, _, _ in pairs)
    if repeated := sorted(key for key, count in counts.items() if count > 1):
        raise InputError(f"images={path}: several items are named {', '.join(repeated)}")
    return pairs


def _csv_pairs(path: Path) -> list[tuple[str, Path, str | None]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV in UTF-8: {error}") from None
    if rows and "image" not in rows[0]:
        raise InputError(f"{path}: the columns are image, prompt and optionally key")
    return [
        (
            sample_key(row.get("key") or Path(row["image"] or "").stem),
            files.inside(path.parent, row["image"] or ""),
            row.get("prompt"),
        )
        for row in rows
    ]


def _open(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST_IMAGE:
                raise InputError(f"{path}: {image.width}x{image.height} pixels are too many")
            return np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no readable image: {error}") from None


def _prompt(prompt: str | None, key: str) -> str:
    if prompt is None:
        raise InputError(f"{key} has no prompt; pass prompt=…, or a CSV with a prompt column")
    return prompt


def _is_shard_folder(path: Path) -> bool:
    return (path / "manifest.json").is_file()
