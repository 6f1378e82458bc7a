"""What a study shows: the inputs that all methods have, and their videos brought to one form.

Every video is decoded and encoded anew, at one size and without the names, dates and comments that
a file may carry: nothing in it tells which program wrote it.
"""

import contextlib
import io
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from PIL import Image

from dynamicrafter import files, items
from dynamicrafter.draws import generator
from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.media.decode import iterate_frames, scaled_size
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.media.isolation import Isolation
from dynamicrafter.media.probe import probe
from dynamicrafter.progress import progress
from eval.methods import Method, first_of, open_method
from eval.study.design import SAME, Question

TIMEOUT_S = 120.0  # for one file
TILES = 6  # across a scrambled frame, and down


@dataclass(frozen=True)
class Source:
    """Where images and prompts come from, in the words of `animate`."""

    images: str
    prompt: str | None
    reading: items.Reading

    def digest(self) -> str:
        """Of the images and of how they are read."""
        read = [self.prompt, self.reading.fit, self.reading.background]
        return files.sha256_json([items.digest(self.images), read])


@dataclass(frozen=True)
class Encoding:
    """How all videos are brought to one form: short side in pixels, longest length, quality."""

    short_side: int
    seconds: float
    crf: int


@dataclass(frozen=True)
class Media:
    """What is shown, by input key: image (JPEG), prompt, and MP4 files by method.

    `scrambled` are those of the attention checks, by question number.
    """

    images: dict[str, bytes]
    prompts: dict[str, str]
    videos: dict[tuple[str, str], bytes]
    scrambled: dict[int, bytes]


def open_methods(folders: DictConfig) -> list[Method]:
    """The methods that a config names.

    Raises:
        InputError: a name or folder that cannot be used.
    """
    try:
        named = {str(name): str(folder) for name, folder in folders.items()}
    except AttributeError:
        raise InputError(
            f"methods={folders}; pass names and folders: methods={{a: x, b: y}}"
        ) from None
    if bad := [name for name in named if not name.strip() or name == SAME]:
        raise InputError(f"a method is named {bad[0]!r}; give it a name that can be told apart")
    return [open_method(folder, name) for name, folder in named.items()]


def find_source(config: DictConfig, methods: Sequence[Method]) -> Source:
    """Where the images come from: the config's `images`, else what an `animate` run started from.

    Raises:
        InputError: neither is there.
    """
    prompt = None if config.prompt is None else str(config.prompt)
    if config.images is not None:
        return Source(str(config.images), prompt, items.Reading(long_prompts="cut"))
    run = next((method for method in methods if not method.foreign), None)
    if run is None:
        raise InputError(
            "no method is a run of `animate` whose images could be shown; pass images= and, "
            "where they bring no prompts, prompt="
        )
    settings = files.read_json(run.folder / "run.json")["config"]
    reading = items.Reading(
        settings.get("fit", "crop"), settings.get("background"), long_prompts="cut"
    )
    return Source(str(settings["image"]), prompt or settings.get("prompt"), reading)


def read_inputs(
    source: Source, methods: Sequence[Method], short_side: int
) -> dict[str, items.Item]:
    """Images and prompts by key; images are cut as the first method that is a run of `animate`.

    Raises:
        InputError: an image, a prompt or that method's first video cannot be used.
    """
    first = next((method for method in methods if not method.foreign), methods[0])
    key = min(first.videos)
    try:
        facts = probe(first.videos[key])
    except MediaError as error:
        raise InputError(f"{first.videos[key]} cannot be shown: {error}") from None
    width, height = scaled_size(facts.width, facts.height, short_side)
    found = items.read_items(
        source.images, source.prompt, None, (height, width), reading=source.reading
    )
    return {item.key: item for item in found}


def shared_keys(
    methods: Sequence[Method], inputs: dict[str, Any], allow_incomplete: bool
) -> tuple[list[str], dict[str, str]]:
    """The keys that every method and the inputs have, and why the others are left out.

    Raises:
        InputError: no key is shared; or some are not, and `allow_incomplete` is off.
    """
    having = {method.name: set(method.videos) for method in methods}
    shown = set.union(*having.values())  # an image that nobody animated is not missed
    having["images"] = set(inputs)
    shared = set.intersection(*having.values())
    left_out = {
        key: "missing in " + ", ".join(name for name, keys in having.items() if key not in keys)
        for key in sorted(shown - shared)
    }
    counts = ", ".join(f"{name} {len(keys)}" for name, keys in having.items())
    if not shared:
        raise InputError(f"the methods and the images share no key ({counts}); name files by key")
    if left_out and not allow_incomplete:
        raise InputError(
            f"{len(left_out)} inputs are not in all of them ({counts}), such as "
            f"{first_of(list(left_out))}; add them, or pass allow_incomplete=true to leave them out"
        )
    return sorted(shared), left_out


def prepare(
    asked: Sequence[Question],
    checked: Sequence[Question],
    methods: Sequence[Method],
    inputs: dict[str, items.Item],
    encoding: Encoding,
    seed: int,
    workers: int,
) -> Media:
    """All media of the questions.

    Args:
        asked: the questions.
        checked: the attention checks.
        methods: the videos.
        inputs: images and prompts by key.
        encoding: the form that the videos are brought to.
        seed: of the scrambling.
        workers: processes for files that somebody else made; 0 reads them in this one.

    Returns:
        The media that the questions need, and no others.

    Raises:
        InputError: a video that cannot be read.
    """
    by_name = {method.name: method for method in methods}
    keys = sorted({one.key for one in asked})
    wanted = sorted({(one.key, name) for one in asked for name in one.methods})
    jobs = [(key, by_name[name], None) for key, name in wanted]
    jobs += [(one.key, by_name[str(one.scrambled)], one.number) for one in checked]
    with contextlib.ExitStack() as stack:
        isolated: Callable[..., bytes] = _here
        if workers and any(method.foreign for method in methods):
            isolated = stack.enter_context(Isolation(workers, TIMEOUT_S))

        def make(job: tuple[str, Method, int | None]) -> bytes:
            key, method, scramble = job
            call = isolated if method.foreign else _here
            return _made(call, method.videos[key], encoding, scramble, seed)

        threads = stack.enter_context(ThreadPoolExecutor(max(workers, 1)))
        advance = stack.enter_context(progress("videos", len(jobs), "videos"))
        made = []
        for video in threads.map(make, jobs):
            made.append(video)
            advance(1)
    videos = dict(zip(wanted, made, strict=False))
    scrambled = {one.number: video for one, video in zip(checked, made[len(wanted) :], strict=True)}
    images = {key: _jpeg(inputs[key].image) for key in keys}
    return Media(images, {key: inputs[key].prompt for key in keys}, videos, scrambled)


def encoded(path: Path, encoding: Encoding, scramble: int | None, seed: int) -> bytes:
    """A video as it is shown: MP4 bytes; `scramble` numbers the check that it is spoilt for.

    Raises:
        MediaError: it cannot be read.
    """
    fps = float(probe(path).fps)
    most = max(1, round(fps * encoding.seconds))
    frames = (frame for _, frame in iterate_frames(path, short_side=encoding.short_side))
    frames = itertools.islice(frames, most)
    if scramble is not None:
        frames = (
            scrambled_frame(frame, generator(seed, index, f"study/tiles/{scramble}"))
            for index, frame in enumerate(frames)
        )
    return encode_mp4(frames, fps, crf=encoding.crf)


def scrambled_frame(frame: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A frame `[h, w, 3]` as tiles in random order; what is over at the edges is cut off."""
    height, width = frame.shape[0] // TILES, frame.shape[1] // TILES
    tiles = frame[: height * TILES, : width * TILES].reshape(TILES, height, TILES, width, 3)
    tiles = tiles.transpose(0, 2, 1, 3, 4).reshape(TILES**2, height, width, 3)
    tiles = tiles[draw.permutation(TILES**2)].reshape(TILES, TILES, height, width, 3)
    return tiles.transpose(0, 2, 1, 3, 4).reshape(height * TILES, width * TILES, 3)


def _made(
    call: Callable[..., bytes], path: Path, encoding: Encoding, scramble: int | None, seed: int
) -> bytes:
    try:
        return call(encoded, path, encoding, scramble, seed)
    except MediaError as error:
        raise InputError(f"{path} cannot be shown ({error}); replace it, or take it away") from None


def _here(function: Callable[..., bytes], *arguments: Any) -> bytes:
    return function(*arguments)


def _jpeg(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=92)
    return stream.getvalue()
