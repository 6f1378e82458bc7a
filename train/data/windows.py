"""Sample number → window of a clip: stride and start are drawn from (seed, number)."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from dynamicrafter import draws
from dynamicrafter.errors import InputError, MediaError, ToolkitError
from dynamicrafter.media.sampling import window_indices
from dynamicrafter.shards import Sample
from train.data.clips import Clips, DataSet
from train.data.encoded import EncodedClips
from train.data.selection import Selection

SUBSTITUTES = 8  # clips that are tried before a sample number is given up
MOTION, STOCK = "motion", "stock"
STOCK_CAPTION, UNKNOWN = "name", "none"  # of a sample's JSON


@dataclass(frozen=True)
class Window:
    """How a stage looks at a clip: how many frames, how far apart, and with which text."""

    frames: int
    strides: tuple[int, int]  # smallest and largest, in source frames
    captions: str = MOTION  # which text goes with it: "motion", or "stock" (see `caption_of`)

    def __post_init__(self) -> None:
        if self.captions not in (MOTION, STOCK):
            raise InputError(f"captions={self.captions}; choose {MOTION} or {STOCK}")


@dataclass(frozen=True, eq=False)
class Place:
    """What a sample number sees, before anything is decoded.

    Attributes:
        number: the global sample number.
        data: the data set.
        clip: number of the clip in it.
        key: the clip's shard key.
        category: what moves in it, `none` where that is unknown.
        clip_frames: frames of the clip.
        clip_fps: its frames per second.
        indices: int64 `[t]`, the frames that are read.
        stride: source frames between two of them.
    """

    number: int
    data: DataSet
    clip: int
    key: str
    category: str
    clip_frames: int
    clip_fps: float
    indices: np.ndarray
    stride: int

    @property
    def fps(self) -> float:
        """Frames per second of the window."""
        return self.clip_fps / self.stride

    def sample(self) -> Sample:
        """The clip as it lies in its shard.

        Raises:
            InputError: it cannot be read.
        """
        return self.data.frames.reader[self.clip]


class ClipWindows(Dataset):
    """Sample number → window of a clip. Used by DataLoader workers, holds no open file."""

    def __init__(self, clips: Clips, seed: int, stream: str, window: Window):
        """Look at clips through `window`.

        Args:
            clips: the data sets.
            seed: the run's seed.
            stream: prefix of the draws' names.
            window: frame count and strides.

        Raises:
            InputError: no clip of a data set is long enough for the window.
        """
        self.seed, self.stream, self.window = seed, stream, window
        self.encoded: EncodedClips | None = None
        self.selection = Selection(clips, seed, stream, window.frames)

    def with_encoded(self, encoded: EncodedClips) -> "ClipWindows":
        """The same windows, of which what is kept in `encoded` is read instead of decoded."""
        other = copy.copy(self)
        other.encoded = encoded
        return other

    def locate(self, number: int) -> Place:
        """What sample `number` sees, if it can be decoded; of its clip only the index is read.

        Raises:
            InputError: the index cannot be read.
        """
        pool, position = self.selection.locate(number)
        return self._place(number, pool.data, pool.clip(position))

    def __getitem__(self, number: int) -> dict | ToolkitError:
        """The window of sample `number`, decoded, or the error that stands in its way.

        An error is returned and raised by `batches`: a loader process would wrap it in its own
        traceback.
        """
        return self._try(number, self.sample)

    def __getitems__(self, numbers: Sequence[int]) -> list[dict | ToolkitError]:
        """The windows of a batch: all of them from what is kept, or all of them decoded."""
        if self.encoded is not None:
            rows = [self._try(number, self._kept_sample) for number in numbers]
            if None not in rows:
                return rows
        return [self[number] for number in numbers]

    def _try(self, number: int, read: Callable[[int], dict | None]) -> dict | ToolkitError | None:
        try:
            return read(number)
        except ToolkitError as error:
            return error

    def sample(self, number: int) -> dict:
        """The window of sample `number`; an unreadable clip is replaced by a drawn other one.

        The other one is of the same data set and category, so shares stay as they are.

        Raises:
            InputError: one clip after the other is unreadable.
        """
        pool, position = self.selection.locate(number)
        replaced = []
        for attempt in range(SUBSTITUTES):
            place = self._place(number, pool.data, pool.clip(position))
            try:
                return {**self._read(place), "replaced": replaced}
            except MediaError:
                replaced.append(place.key)
                chance = draws.generator(self.seed, number, f"{self.stream}/substitute-{attempt}")
                position = int(chance.integers(pool.order.clips))
        raise InputError(
            f"{pool.data.frames.reader.folder}: unreadable clips {', '.join(replaced)}; pack again"
        )

    def _place(self, number: int, data: DataSet, clip: int) -> Place:
        chance = draws.generator(self.seed, number, f"{self.stream}/window")
        low, high = self.window.strides
        stride, position = int(chance.integers(low, high + 1)), float(chance.random())
        entry = data.frames.reader.entry(clip)
        indices = window_indices(entry.frames, self.window.frames, stride, position)
        return Place(
            number=number,
            data=data,
            clip=clip,
            key=entry.key,
            category=entry.category,
            clip_frames=entry.frames,
            clip_fps=entry.fps,
            indices=indices,
            stride=int(indices[1] - indices[0]) if len(indices) > 1 else stride,
        )

    def _kept_sample(self, number: int) -> dict | None:
        """Sample `number` with moments and states, and the condition frame alone; None if not kept.

        A clip that cannot be decoded is not kept, so that its stand-in is found as ever.
        """
        place = self.locate(number)
        sample = place.sample()
        row = self._row(place, sample)
        reader = place.data.frames.reader
        found = self.encoded.read(reader, place.clip, sample, row["caption"], place.indices)
        if found is None:
            return None
        condition = self.encoded.condition_frame(self.seed, self.stream, number, self.window.frames)
        try:
            frames = place.data.frames.read(
                place.clip, sample, place.indices[condition : condition + 1]
            )
        except MediaError:
            return None
        return {**row, "frames": frames, "kept": found, "replaced": []}

    def _read(self, place: Place) -> dict:
        sample = place.sample()
        frames = place.data.frames.read(place.clip, sample, place.indices)
        return {**self._row(place, sample), "frames": frames}

    def _row(self, place: Place, sample: Sample) -> dict:
        return {
            "number": place.number,
            "key": place.key,
            "caption": caption_of(sample, self.window.captions),
            "frame_stride": place.stride,
            "fps": place.fps,
        }


def caption_of(sample: Sample, captions: str) -> str:
    """The text that is learned with a clip.

    Args:
        sample: the clip.
        captions: "motion" is what moves in it, "stock" what its source says of it; where the source
            said nothing, that is the empty prompt.

    Raises:
        InputError: the sample keeps no stock caption.
    """
    if captions == MOTION:
        return sample.text
    stock = sample.info.get(STOCK_CAPTION)
    if not isinstance(stock, str):
        raise InputError(
            f"clip {sample.key} keeps no stock caption ({STOCK_CAPTION!r} in its JSON); "
            f"pack the clips again, or pass captions={MOTION}"
        )
    return "" if stock == UNKNOWN else stock
