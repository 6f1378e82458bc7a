"""What to animate: an image, a folder of images, a CSV of pairs, or the first frames of shards.

CSV columns are `image` (a path beside the CSV), `prompt`, and optionally `last_image` (to
interpolate to) and `key`. Everything is read and checked before anything is animated. Images are
brought to the model's size by a rule of `images.py`.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynamicrafter import files
from dynamicrafter.errors import InputError
from dynamicrafter.images import SUFFIXES, check_rule, fit, open_image
from dynamicrafter.media.decode import read_frames
from dynamicrafter.shards import ShardReader, sample_key

LONG_PROMPTS = ("refuse", "cut")


@dataclass(frozen=True, eq=False)
class Item:
    """One thing to animate: its key names the output, its images are uint8 `[h, w, 3]`.

    `last` is the frame to end at, where there is one.
    """

    key: str
    image: np.ndarray
    prompt: str
    last: np.ndarray | None = None


@dataclass(frozen=True)
class Reading:
    """How images and prompts are read.

    Attributes:
        fit: how an image is brought to the model's size, see `images.py`.
        background: colour under transparent parts; None refuses them.
        long_prompts: what happens to a prompt that the text encoder cannot read to its end: refuse
            it, or cut it there.
    """

    fit: str = "crop"
    background: str | None = None
    long_prompts: str = "refuse"

    def __post_init__(self) -> None:
        check_rule(self.fit, self.background)
        if self.long_prompts not in LONG_PROMPTS:
            choices = ", ".join(LONG_PROMPTS)
            raise InputError(f"long_prompts={self.long_prompts}; choose {choices}")


@dataclass(frozen=True)
class _Named:
    """An item as it is named: files that exist, and the prompt that it brings itself."""

    key: str
    image: Path
    prompt: str | None = None
    last: Path | None = None


def digest(image: str, last_image: str | None = None) -> str:
    """Digest of everything that the settings name: of a CSV the images too."""
    path = Path(image)
    if _is_shard_folder(path):
        return ShardReader(path).digest
    return files.sha256_json(
        [
            [item.key, files.sha256_file(item.image), item.prompt]
            + ([files.sha256_file(item.last)] if item.last else [])
            for item in _named(path, last_image)
        ]
    )


def read_items(
    image: str,
    prompt: str | None,
    count: int | None,
    size: tuple[int, int],
    *,
    last_image: str | None = None,
    reading: Reading | None = None,
) -> list[Item]:
    """The items that `image` names, at most `count`, fitted to `size` (height, width).

    Args:
        image: an image, a folder of images, a CSV, or a shard folder.
        prompt: the prompt of images that bring none of their own; for items that bring one, None.
        count: how many of them, in order, at least 1; None for all.
        size: height and width in pixels.
        last_image: the frame to end at, for a single image; a CSV has a column for it.
        reading: how images and prompts are read.

    Raises:
        InputError: nothing to animate, an image or prompt that cannot be used as it is.
    """
    reading = reading or Reading()
    if count is not None and count < 1:
        raise InputError(f"count is {count}; it must be at least 1, or null for all")
    path = Path(image)
    if _is_shard_folder(path):
        items = _shard_items(ShardReader(path), prompt, count, size, reading.fit)
    else:
        items = [
            Item(
                key=item.key,
                image=_fitted(item.image, size, reading),
                prompt=_prompt(item.prompt or prompt, item.key),
                last=_fitted(item.last, size, reading) if item.last else None,
            )
            for item in _named(path, last_image)[:count]
        ]
    if reading.long_prompts == "refuse":
        _refuse_long(items)
    return items


def _fitted(path: Path, size: tuple[int, int], reading: Reading) -> np.ndarray:
    return fit(open_image(path, reading.background), size, reading.fit)


def _shard_items(
    reader: ShardReader, prompt: str | None, count: int | None, size: tuple[int, int], rule: str
) -> list[Item]:
    items = []
    for number in range(len(reader))[:count]:
        sample = reader[number]
        first = read_frames(sample.video, [0])[0]
        text = _prompt(prompt or sample.text, sample.key)
        items.append(Item(sample.key, fit(first, size, rule), text))
    return items


def _named(path: Path, last_image: str | None) -> list[_Named]:
    """The items as they are named; every file is there, every key once."""
    if not path.exists():
        raise InputError(f"image={path}: no such image, folder or CSV")
    if path.suffix.lower() == ".csv":
        items = _csv_items(path)
    elif path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        items = [_Named(sample_key(p.stem), p) for p in found]
    else:
        items = [_Named(sample_key(path.stem), path, last=Path(last_image) if last_image else None)]
    if not items:
        raise InputError(f"image={path}: no image there")
    if last_image and (path.is_dir() or path.suffix.lower() == ".csv"):
        raise InputError("last_image goes with a single image; a CSV has a column last_image")
    for file in [item.image for item in items] + [item.last for item in items if item.last]:
        if not file.is_file():
            raise InputError(f"{file}: no such image")
    counts = Counter(item.key for item in items)
    if repeated := sorted(key for key, count in counts.items() if count > 1):
        raise InputError(f"image={path}: several items are named {', '.join(repeated)}")
    return items


def _csv_items(path: Path) -> list[_Named]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV in UTF-8: {error}") from None
    if rows and "image" not in rows[0]:
        raise InputError(f"{path}: the columns are image, prompt, and optionally last_image, key")
    return [
        _Named(
            key=sample_key(row.get("key") or Path(row["image"] or "").stem),
            image=files.inside(path.parent, row["image"] or ""),
            prompt=row.get("prompt"),
            last=files.inside(path.parent, row["last_image"]) if row.get("last_image") else None,
        )
        for row in rows
    ]


def _prompt(prompt: str | None, key: str) -> str:
    if prompt is None:
        raise InputError(f"{key} has no prompt; pass prompt=…, or a CSV with a prompt column")
    if not prompt.strip():
        raise InputError(f"the prompt of {key} is empty; say in a few words what moves and how")
    return prompt


def _refuse_long(items: Sequence[Item]) -> None:
    from dynamicrafter.model.encoders import MAX_TEXT_TOKENS, count_tokens

    for item in items:
        tokens = count_tokens(item.prompt)
        if tokens > MAX_TEXT_TOKENS:
            raise InputError(
                f"the prompt of {item.key} has {len(item.prompt.split())} words, {tokens} tokens; "
                f"{MAX_TEXT_TOKENS} are read: shorten it, or pass long_prompts=cut"
            )


def _is_shard_folder(path: Path) -> bool:
    return (path / "manifest.json").is_file()
