"""Encoded clips and captions on the disk: what loader processes read instead of decoding.

    <folder>/moments-<fingerprint>/fingerprint.json          all that made them
                                   0c/<video>.safetensors    moments of all frames of a clip
             texts-<fingerprint>/fingerprint.json
                                 3f/<caption>.safetensors    states of a caption
             filled/<digest>                                 all that a stage needs is there

Names are digests of contents: of the video, of the caption. So data sets that hold the same video
share its moments, whatever their captions are. A frame is checked against its digest whenever it is
read; a file that does not hold what it should is removed, told, and made anew by the next `fill`.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from dynamicrafter import draws, files
from dynamicrafter.command import say
from dynamicrafter.shards import Sample, ShardReader
from dynamicrafter.shards.sample import MEMBERS

FINGERPRINT, FILLED = "fingerprint.json", "filled"
VIDEO = MEMBERS.index("mp4")
ROWS, DIGESTS = "rows", "digests"  # tensors of a file: [n, ...], and uint8 [n, 32], SHA-256
DIGEST_BYTES = 32
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
LONGEST_HEADER = 4096  # bytes
DAMAGE = (OSError, ValueError, KeyError, TypeError)  # what a file that is none raises


@dataclass(frozen=True)
class Kept:
    """What was kept of the clips of a batch.

    Attributes:
        moments: mean and log variance of every frame `[b, t, 2z, h, w]`.
        text: states of the captions `[b, 77, d]`; no_text: of the empty prompt `[1, 77, d]`.
    """

    moments: torch.Tensor
    text: torch.Tensor
    no_text: torch.Tensor


@dataclass(frozen=True)
class EncodedClips:
    """Where the encoded clips of one model lie.

    Attributes:
        moments: folder of the moments.
        texts: folder of the states of captions.
        draws_condition: whether the condition frame is drawn for each sample; else it is the first.
    """

    moments: Path
    texts: Path
    draws_condition: bool

    def read(
        self, reader: ShardReader, clip: int, sample: Sample, caption: str, indices: np.ndarray
    ) -> tuple[torch.Tensor, ...] | None:
        """Moments of frames `indices` `[t, 2z, h, w]`, states of the caption and of no caption.

        None where something is not there, or was damaged.
        """
        moments = read_rows(self.clip_path(reader, clip), indices.tolist(), sides_of(sample))
        texts = [read_rows(self.text_path(text), [0]) for text in (caption, "")]
        if moments is None or texts[0] is None or texts[1] is None:
            return None
        return moments, texts[0][0], texts[1][0]

    def condition_frame(self, seed: int, stream: str, number: int, frames: int) -> int:
        """Which frame of its window a sample is conditioned on."""
        chance = draws.BatchDraws(seed, stream, [number])
        return int(condition_frames(chance, frames, self.draws_condition))

    def clip_path(self, reader: ShardReader, clip: int) -> Path:
        """File of the moments of a clip."""
        shard, row = reader.shard_of(clip)
        index = reader.index(shard)
        digest, size = int(index.digest[row, VIDEO]), int(index.size[row, VIDEO])
        name = f"{digest % 2**64:016x}-{size}"
        return self.moments / name[:2] / f"{name}.safetensors"

    def text_path(self, text: str) -> Path:
        """File of the states of a caption."""
        name = files.sha256_bytes(text.encode())
        return self.texts / name[:2] / f"{name}.safetensors"


def condition_frames(chance: draws.BatchDraws, frames: int, drawn: bool) -> torch.Tensor:
    """Index of the condition frame of each sample of a batch, `[b]`: drawn, or the first."""
    return chance.integers("condition_frame", 0, frames if drawn else 1)


def sides_of(sample: Sample) -> str:
    """The size that a sample states, on which its cut depends."""
    return f"{sample.info.get('height')}x{sample.info.get('width')}"


def write_rows(path: Path, rows: torch.Tensor, sides: str = "") -> None:
    """Keep `rows` `[n, ...]` with the digest of each; atomic, so many may write at once."""
    rows = rows.detach().cpu().contiguous()
    digests = np.stack([np.frombuffer(_digest(row), np.uint8) for row in rows])
    tensors = {ROWS: rows, DIGESTS: torch.from_numpy(digests)}
    files.write_tensors(path, tensors, {"sides": sides})


def read_rows(path: Path, indices: Sequence[int], sides: str = "") -> torch.Tensor | None:
    """Rows `indices` of a file, checked; None if it is not there or does not hold them.

    A damaged file is removed and told. One of other `sides` is left out: another video states
    another size.
    """
    try:
        with path.open("rb", buffering=0) as file:
            layout = _layout(file)
            if layout.sides != sides:
                return None
            return _checked_rows(file, layout, indices)
    except FileNotFoundError:
        return None
    except DAMAGE as error:
        _remove(path, str(error))
        return None


def is_there(path: Path, sides: str = "", *, verify: bool = False) -> bool:
    """Whether a file is there with header and length as they should be; `verify`: all of it."""
    try:
        with path.open("rb", buffering=0) as file:
            layout = _layout(file)
            if verify:
                _checked_rows(file, layout, range(layout.shape[0]))
            return layout.sides == sides
    except FileNotFoundError:
        return False
    except DAMAGE as error:
        _remove(path, str(error))
        return False


@dataclass(frozen=True)
class _Layout:
    """What the header of a file says; offsets from the file's beginning."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    rows_at: int
    row_bytes: int
    digests_at: int
    sides: str


def _layout(file: BinaryIO) -> _Layout:
    """Read the header as safetensors defines it, without mapping the file, and compare lengths."""
    length = int.from_bytes(file.read(8), "little")
    total = os.fstat(file.fileno()).st_size
    if not 0 < length <= min(total - 8, LONGEST_HEADER):
        raise ValueError("no header")
    header = json.loads(file.read(length))
    rows, digests = header[ROWS], header[DIGESTS]
    begin, end = rows["data_offsets"]
    count, *shape = rows["shape"]
    if (count < 1, digests["shape"]) != (False, [count, DIGEST_BYTES]):
        raise ValueError("rows and digests do not agree")
    if total != 8 + length + max(end, digests["data_offsets"][1]):
        raise ValueError(f"{total} bytes long")
    return _Layout(
        dtype=DTYPES[rows["dtype"]],
        shape=(count, *shape),
        rows_at=8 + length + begin,
        row_bytes=(end - begin) // count,
        digests_at=8 + length + digests["data_offsets"][0],
        sides=header["__metadata__"]["sides"],
    )


def _checked_rows(file: BinaryIO, layout: _Layout, indices: Sequence[int]) -> torch.Tensor:
    count, size, descriptor = layout.shape[0], layout.row_bytes, file.fileno()
    digests = os.pread(descriptor, count * DIGEST_BYTES, layout.digests_at)
    found = bytearray(len(indices) * size)
    for place, index in enumerate(indices):
        row = os.pread(descriptor, size, layout.rows_at + index * size)
        wanted = digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]
        if not 0 <= index < count or hashlib.sha256(row).digest() != wanted:
            raise ValueError(f"frame {index} of {count} is not what was written")
        found[place * size : (place + 1) * size] = row
    return torch.frombuffer(found, dtype=layout.dtype).reshape(len(indices), *layout.shape[1:])


def _digest(row: torch.Tensor) -> bytes:
    return hashlib.sha256(row.contiguous().view(torch.uint8).numpy()).digest()


def _remove(path: Path, trouble: str) -> None:
    """Remove a damaged file, and what says that all files are there."""
    say(f"{path} is damaged ({trouble}); it is removed, and encoded anew")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    shutil.rmtree(path.parents[2] / FILLED, ignore_errors=True)
