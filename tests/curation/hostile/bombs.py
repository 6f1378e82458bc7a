"""Tables that try to fill memory or time."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.curation.hostile.sources import GOOD, HEADER, MORE, OWN, WEBVID, hostile


@hostile(good=2, cell_too_long=1, heavy=True)
def cell_of_100_megabytes(folder):
    with open(folder / "clips.csv", "wb") as file:
        file.write(HEADER + GOOD + b"3,u,x,p,")
        for _ in range(100):
            file.write(b"A" * 2**20)
        file.write(b"\n" + MORE)
    return {**WEBVID, "table": str(folder / "clips.csv"), "data_dir": "d"}


@hostile(good=2, cell_too_long=1, heavy=True)
def line_of_a_gigabyte(folder):
    first, last = b'{"path": "a.mp4", "caption": "A"}\n', b'\n{"path": "b.mp4", "caption": "B"}\n'
    with open(folder / "clips.jsonl", "wb") as file:
        file.write(first + b'{"path": "')
        file.seek(2**30)
        file.write(last)
    return {**OWN, "table": str(folder / "clips.jsonl"), "data_dir": "d"}


@hostile("does not begin with a header", heavy=True)
def a_gigabyte_of_nothing(folder):
    with open(folder / "clips.csv", "wb") as file:
        file.truncate(2**30)
    return {**WEBVID, "table": str(folder / "clips.csv"), "data_dir": "d"}


def bomb(folder: Path, block: bytes) -> dict:
    with gzip.open(folder / "clips.csv.gz", "wb", compresslevel=1) as file:
        file.write(HEADER + GOOD)
        for _ in range(300):
            file.write(block)
    return {**WEBVID, "table": str(folder / "clips.csv.gz"), "data_dir": "d"}


@hostile("unpacks to more than 100 times", heavy=True)
def gzip_bomb(folder):
    return bomb(folder, b"A" * 2**20)


@hostile("unpacks to more than 100 times", heavy=True)
def gzip_bomb_of_blank_lines(folder):
    return bomb(folder, b"\n" * 2**20)


@hostile(good=1, cell_too_long=30, heavy=True)
def parquet_with_long_texts(folder):
    return parquet_bomb(folder, 30, as_dictionary=False)


@hostile(good=1, cell_too_long=30, heavy=True)
def parquet_with_a_long_category(folder):
    return parquet_bomb(folder, 30, as_dictionary=True)


@hostile("gigabytes of over-long texts", heavy=True)
def parquet_with_long_texts_without_end(folder):
    return parquet_bomb(folder, 10_000, as_dictionary=False)


def parquet_bomb(folder: Path, count: int, *, as_dictionary: bool) -> dict:
    """One text of 16 MiB in the dictionary of the column, stated by `count` rows."""
    path = folder / "clips.parquet"
    indices = pa.array([0] + [1] * count, pa.int32())
    captions = pa.DictionaryArray.from_arrays(indices, ["A", "A" * 2**24])
    columns = pa.table({"path": [f"{i}.mp4" for i in range(count + 1)], "caption": captions})
    pq.write_table(columns, path, compression="zstd", store_schema=as_dictionary)
    return {**OWN, "table": str(path), "data_dir": "d"}


@hostile(good=1, cell_too_long=1, heavy=True)
def array_with_an_element_of_100_megabytes(folder):
    with open(folder / "clips.json", "wb") as file:
        file.write(b'[{"path": "a.mp4", "caption": "')
        for _ in range(100):
            file.write(b"A" * 2**20)
        file.write(b'"}, {"path": "b.mp4", "caption": "B"}]')
    return {**OWN, "table": str(folder / "clips.json"), "data_dir": "d"}
