"""Sorting more records than memory shall hold: fixed-width records, in partitions on disk."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

MEMORY_BYTES = 16 * 2**20
"""Of records that are held at once; sorting takes about three times as much."""


class Records:
    """Records of a numpy structured type, appended to a file and read back in blocks or sorted."""

    def __init__(self, path: Path, dtype: np.dtype, memory_bytes: int = MEMORY_BYTES):
        """Begin an empty file."""
        self.dtype = dtype
        self._path = path
        self._file = path.open("wb")
        self._block = max(memory_bytes // dtype.itemsize, 1)
        self.count = 0

    def append(self, records: np.ndarray) -> None:
        """Add records."""
        self._file.write(np.ascontiguousarray(records, self.dtype).tobytes())
        self.count += len(records)

    def blocks(self) -> Iterator[np.ndarray]:
        """The records as they were added."""
        self._file.flush()
        for start in range(0, self.count, self._block):
            count = min(self._block, self.count - start)
            offset = start * self.dtype.itemsize
            yield np.fromfile(self._path, self.dtype, count=count, offset=offset)

    def array(self) -> np.ndarray:
        """All records, mapped from the file."""
        self._file.flush()
        if not self.count:
            return np.empty(0, self.dtype)
        return np.memmap(self._path, self.dtype, mode="r", shape=(self.count,))

    def sorted_blocks(self, *names: str) -> Iterator[np.ndarray]:
        """The records ordered by fields; those that agree in the first one lie in one block.

        Args:
            names: fields, the first an unsigned 64-bit one, spread evenly (a hash) or dense from
                zero; else blocks may be larger than the memory that was asked for.
        """
        if self.count <= self._block:
            everything = np.concatenate([np.empty(0, self.dtype), *self.blocks()])
            if self.count:
                yield _sorted(everything, names)
            return
        highest = max(int(block[names[0]].max()) for block in self.blocks())
        parts = -(-self.count // self._block) * 2  # some room for chance
        width = highest // parts + 1
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._path.parent)))
            files = [folder / str(number) for number in range(parts)]
            for block in self.blocks():
                part = (block[names[0]] // np.uint64(width)).astype(np.int64)
                for number in np.unique(part):
                    with files[number].open("ab") as file:
                        file.write(block[part == number].tobytes())
            for path in files:
                if path.exists():
                    yield _sorted(np.fromfile(path, self.dtype), names)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _sorted(records: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    return records[np.lexsort([records[name] for name in reversed(names)])]
