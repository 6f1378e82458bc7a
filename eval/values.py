"""Values by video on disk, `per_video.parquet`: key, group and a column a metric."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dynamicrafter.files import atomic_path
from eval.results import PER_VIDEO

if TYPE_CHECKING:
    import pandas as pd


def write_values(
    folder: Path, keys: Sequence[str], groups: Sequence[str], per_video: Mapping[str, np.ndarray]
) -> None:
    """Write the values `[n]` of the metrics of n videos, whole or not at all."""
    columns = {"key": _texts(keys), "group": _texts(groups)}
    columns |= {metric: _numbers(values) for metric, values in per_video.items()}
    table = pa.Table.from_arrays(list(columns.values()), list(columns))
    with atomic_path(folder / PER_VIDEO) as path:
        pq.write_table(table, path)


def read_values(folder: Path) -> "pd.DataFrame":
    """What `write_values` wrote, by key."""
    import pandas as pd

    return pd.read_parquet(folder / PER_VIDEO).set_index("key")


def _numbers(values: np.ndarray) -> pa.Array:
    # Arrow's own conversions, here and of texts, import pandas: a tenth of a report from the cache.
    data = pa.py_buffer(np.ascontiguousarray(values, np.float64))
    return pa.Array.from_buffers(pa.float64(), len(values), [None, data])


def _texts(texts: Sequence[str]) -> pa.Array:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))
    )
