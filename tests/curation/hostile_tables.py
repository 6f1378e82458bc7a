"""Sources that are broken or made to harm: each builder writes its files and returns the source.

`EXPECTED` says what must come of each: so many clips and so many rows of each reason, or an error
about the source as a whole. `HEAVY` are those that try to fill memory; read them in a process whose
memory is watched.
"""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HOSTILE: dict[str, Callable[[Path], dict]] = {}
EXPECTED: dict[str, dict[str, int] | str] = {}
HEAVY: set[str] = set()

HEADER = b"videoid,contentUrl,duration,page_dir,name\n"
GOOD = b"1,u,PT00H00M18S,p,A dog runs\n"
MORE = b"2,u,PT00H00M09S,p,A cat sits\n"
WEBVID = {
    "name": "webvid",
    "kind": "table",
    "path": "videos/{page_dir}/{videoid}.mp4",
    "clip_id": "{page_dir}_{videoid}",
    "video_id": "{videoid}",
    "caption": "{name}",
    "duration": "duration",
    "extra": ["videoid", "page_dir", "contentUrl", "duration"],
    "missing": ["x", "none", "nan"],
}
OWN = {"name": "own", "kind": "table", "path": "path", "clip_id": "path", "caption": "caption"}
TIMED = {**OWN, "start": "start", "end": "end"}
FRAMES = {**OWN, "start_frame": "first", "end_frame": "last", "fps": "fps"}
PANDA = {
    **OWN,
    "path": "{videoID}.mp4",
    "clip_id": "{videoID}-{start_ms}-{end_ms}",
    "span": "timestamp",
    "nested": ["timestamp", "caption"],
}
SKY = {**OWN, "kind": "skycaptioner", "caption": None}


def hostile(error: str = "", *, heavy: bool = False, **expected: int):
    """Register a builder; `good` counts the clips, every other name is a reason.

    `other` stands for at least so many rows of whatever reasons."""

    def register(build: Callable[[Path], dict]) -> Callable[[Path], dict]:
        name = build.__name__
        HOSTILE[name], EXPECTED[name] = build, error or expected
        if heavy:
            HEAVY.add(name)
        return build

    return register


def table(folder: Path, content: bytes, name: str = "clips.csv", source: dict = WEBVID) -> dict:
    (folder / name).write_bytes(content)
    return {**source, "table": str(folder / name), "data_dir": str(folder / "data")}


def webvid(folder: Path, *rows: bytes) -> dict:
    return table(folder, HEADER + GOOD + b"".join(rows) + MORE)


def own(folder: Path, *rows: bytes, source: dict = OWN, header: bytes = b"path,caption") -> dict:
    return table(folder, header + b"\n" + b"".join(row + b"\n" for row in rows), source=source)


def json_file(folder: Path, content: str | bytes, name: str, source: dict = OWN) -> dict:
    content = content if isinstance(content, bytes) else content.encode()
    return table(folder, content, name, source)


# -- CSV: the text of it -------------------------------------------------------------------------


@hostile(good=2, bad_text=1)
def invalid_utf8(folder):
    return webvid(folder, b"3,u,x,p,caf\xe9\n")


@hostile(good=2, bad_text=1)
def surrogate_in_utf8(folder):
    return webvid(folder, b"3,u,x,p,\xed\xa0\x80\n")


@hostile(good=2)
def byte_order_mark(folder):
    return table(folder, b"\xef\xbb\xbf" + HEADER + GOOD + MORE)


@hostile(good=3)
def nul_in_caption(folder):
    return webvid(folder, b"3,u,x,p,A\0 dog\0\n")


@hostile(good=2, bad_path=2)
def nul_in_path(folder):
    return webvid(folder, b"3\0,u,x,p,A dog\n", b"3,u,x,p\0q,A dog\n")


@hostile(good=3)
def control_characters_in_caption(folder):
    return webvid(folder, "3,u,x,p,A\x07 \x1b[31mdog\u202e \x85runs\u2028on\n".encode())


@hostile(good=4)
def formulas(folder):
    return webvid(folder, b"3,u,x,p,\"=cmd|' /C calc'!A0\"\n", b"4,u,x,p,@SUM(1+1)\n")


@hostile(good=3)
def long_caption(folder):
    return webvid(folder, b"3,u,x,p," + b"long " * 20_000 + b"\n")


@hostile(good=2, bad_row=3)
def wrong_number_of_cells(folder):
    return webvid(folder, b"3,u,x,p\n", b"4,u,x,p,A dog,runs\n", b"5\n")


@hostile(good=2, repeated_header=2)
def concatenated_tables(folder):
    return webvid(folder, HEADER, HEADER)


@hostile(good=2)
def blank_lines(folder):
    return webvid(folder, b"\n\n\r\n" * 50)


@hostile(good=4, bad_row=1)
def open_quote(folder):
    return webvid(folder, b'3,u,x,p,"A dog\n', b"4,u,x,p,A cow\n", b'5,u,x,p,"A cat, asleep"\n')


@hostile(good=4, bad_row=1)
def open_quote_to_the_end(folder):
    return webvid(folder, b'3,u,x,p,"A dog\n', b"4,u,x,p,A cow\n", b"5,u,x,p,A cat\n")


@hostile(good=302, cell_too_long=1)
def open_quote_before_many_lines(folder):
    return webvid(folder, b'0,u,x,p,"A dog\n', *(b"9%d,u,x,p,A cow\n" % i for i in range(300)))


@hostile(good=2, bad_row=1)
def text_behind_a_quote(folder):
    return webvid(folder, b'3,u,x,p,"A dog" runs\n')


@hostile(good=3)
def caption_of_several_lines(folder):
    return webvid(folder, b'3,u,x,p,"A dog\n\nruns ""fast""\nhome"\n')


@hostile(good=2, bad_row=2)
def carriage_return_in_a_row(folder):
    return webvid(folder, b"3,u,x,p,A\rdog\n", b"4,u,x,\rp,A dog\n")


@hostile(good=2, other=29_000)
def quotes_that_open_on_every_line(folder):
    return webvid(folder, b'a","x\n' * 30_000)


# -- CSV: ids, paths ------------------------------------------------------------------------------


@hostile(good=2, bad_path=4)
def leaves_the_folder(folder):
    return webvid(folder, b"passwd,u,x,../../../etc,A\n", b"../../x,u,x,p,A\n", b"a,u,x,..,A\n",
                  b"a,u,x,p/../../..,A\n")  # fmt: skip


@hostile(good=1, bad_path=3)
def absolute_paths(folder):
    return own(folder, b"a.mp4,A", b"/etc/passwd,A", b"//host/share/a.mp4,A", b"a//etc/passwd,A")


@hostile(good=2, bad_path=3)
def backslashes(folder):
    return webvid(folder, rb"..\..\x,u,x,p,A" + b"\n", rb"C:\x,u,x,p,A" + b"\n",
                  b"a,u,x,\\\\host\\share,A\n")  # fmt: skip


@hostile(good=2, bad_path=3)
def long_names(folder):
    return webvid(folder, b"3" * 300 + b",u,x,p,A\n", b"3,u,x," + b"p/" * 2000 + b"q,A\n",
                  b"3,u,x," + "\u00e9".encode() * 128 + b",A\n")  # fmt: skip


@hostile(good=3)
def slash_in_an_id(folder):
    return webvid(folder, b"a/b,u,x,p,A\n")


@hostile(good=2, no_id=5)
def ids_that_are_missing(folder):
    return webvid(folder, b",u,x,p,A\n", b"x,u,x,p,A\n", b"NaN,u,x,p,A\n", b"3,u,x,None,A\n",
                  b"   ,u,x,p,A\n")  # fmt: skip


@hostile(good=3)
def percent_and_braces_in_ids(folder):
    return webvid(folder, b"%s{videoid}%d,u,x,p,{name} %s\n")


# -- CSV: the file as a whole ---------------------------------------------------------------------


@hostile("videoid more than once")
def doubled_column(folder):
    return table(folder, b"videoid,page_dir,name,videoid\n1,p,A,2\n")


@hostile("lacks the columns page_dir, name; it has videoid, caption")
def other_columns(folder):
    return table(folder, b"videoid,caption\n1,A\n")


@hostile("is empty")
def empty_file(folder):
    return table(folder, b"")


@hostile("holds no clip")
def header_alone(folder):
    return table(folder, HEADER)


@hostile("does not begin with a header")
def blank_file(folder):
    return table(folder, b"\n \n\n")


@hostile("lacks the columns")
def html_page(folder):
    return table(folder, b"<!DOCTYPE html>\n<html><body>403 Forbidden</body></html>\n")


@hostile("does not begin with a header in UTF-8")
def utf16(folder):
    return table(folder, (HEADER + GOOD).decode().encode("utf-16"))


@hostile("does not begin with a header")
def utf16_without_mark(folder):
    return table(folder, (HEADER + GOOD).decode().encode("utf-16-le"))


@hostile("does not begin with a header")
def video_as_table(folder):
    return table(folder, b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(range(256)) * 20)


@hostile("does not begin with a header")
def old_mac_line_ends(folder):
    return table(folder, (HEADER + GOOD).replace(b"\n", b"\r"))


@hostile("does not begin with a header")
def header_without_end(folder):
    return table(folder, b"videoid," * 300_000 + b"\n" + GOOD)


@hostile("is no file")
def folder_as_table(folder):
    (folder / "clips.csv").mkdir()
    return {**WEBVID, "table": str(folder / "clips.csv"), "data_dir": "d"}


@hostile("there is no file")
def absent_file(folder):
    return {**WEBVID, "table": str(folder / "part-*.csv"), "data_dir": "d"}


@hostile("is no file")
def pipe_as_table(folder):
    os.mkfifo(folder / "clips.csv")
    return {**WEBVID, "table": str(folder / "clips.csv"), "data_dir": "d"}


@hostile("part-1.csv is empty")
def second_table_empty(folder):
    (folder / "part-1.csv").touch()
    return {**table(folder, HEADER + GOOD, "part-0.csv"), "table": str(folder / "part-*.csv")}


@hostile("damaged gzip")
def truncated_gzip(folder):
    rows = b"".join(b"%d,u,PT00H00M18S,p,A dog\n" % i for i in range(20_000))
    return table(folder, gzip.compress(HEADER + rows)[:-5000], "clips.csv.gz")


@hostile("damaged gzip")
def garbage_in_gzip(folder):
    return table(folder, b"\x1f\x8b" + b"no gzip at all" * 20, "clips.csv.gz")


# -- memory and time ------------------------------------------------------------------------------


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


# -- JSON -----------------------------------------------------------------------------------------

ROWS = '{"path": "a.mp4", "caption": "A"}\n%s\n{"path": "b.mp4", "caption": "B"}\n'


@hostile(good=3)
def json_nan(folder):
    return json_file(folder, ROWS % '{"path": "c.mp4", "caption": NaN, "s": -Infinity}', "c.jsonl")


@hostile(good=2, bad_row=2)
def json_deep(folder):
    deep = "[" * 100_000 + "]" * 100_000
    rows = '{"path": "c.mp4", "caption": ' + deep + "}\n" + '{"a":' * 50_000
    return json_file(folder, ROWS % rows, "clips.jsonl")


@hostile(good=2, bad_row=1)
def json_doubled_field(folder):
    return json_file(folder, ROWS % '{"path": "c.mp4", "path": "d.mp4"}', "clips.jsonl")


@hostile(good=2, bad_row=1)
def json_huge_number(folder):
    return json_file(folder, ROWS % ('{"path": %s}' % ("9" * 100_000)), "clips.jsonl")


@hostile(good=2, bad_text=2)
def json_half_pairs(folder):
    rows = '{"path": "c\\ud800.mp4"}\n{"path": "d.mp4", "caption": "\\uDFFF"}'
    return json_file(folder, ROWS % rows, "clips.jsonl")


@hostile(good=3)
def json_whole_pair(folder):
    return json_file(folder, ROWS % '{"path": "c.mp4", "caption": "\\ud83d\\udc15"}', "c.jsonl")


@hostile(good=2, bad_text=1)
def json_not_utf8(folder):
    rows = (ROWS % "#").encode().replace(b"#", b'{"path": "c\xff.mp4"}')
    return json_file(folder, rows, "clips.jsonl")


@hostile(good=2, bad_row=6)
def json_not_objects(folder):
    return json_file(folder, ROWS % '1\n"a"\n[1]\nnull\n{"path"\n{} {}', "clips.jsonl")


@hostile(good=2, no_id=3)
def json_ids_of_other_types(folder):
    return json_file(folder, ROWS % '{"path": null}\n{"path": NaN}\n{}', "clips.jsonl")


@hostile(good=1, bad_row=2)
def array_with_a_broken_element(folder):
    array = '[{"path": "a.mp4", "caption": oops}, {"path": "b.mp4", "caption": "B"}, 7]'
    return json_file(folder, array, "clips.json")


@hostile(good=1, bad_row=2)
def array_that_is_cut_off(folder):
    return json_file(folder, '[{"path": "a.mp4", "caption": "A"}, {"path": "b.', "clips.json")


@hostile(good=1, bad_text=1)
def array_not_utf8(folder):
    array = b'[{"path": "a.mp4", "caption": "A"}, {"path": "b.mp4", "caption": "\xff"}]'
    return json_file(folder, array, "clips.json")


@hostile("more than 100 broken elements")
def array_of_broken_elements(folder):
    array = '[{"path": "a.mp4"}, ' + '{"path": [{"a": 1}, },' * 100_000 + "]"
    return json_file(folder, array, "clips.json", {**OWN, "caption": None})


@hostile("none of the first elements")
def array_of_numbers(folder):
    return json_file(folder, "[" + "1," * 100 + "1]", "clips.json")


@hostile("none of the first elements")
def empty_array(folder):
    return json_file(folder, "[]", "clips.json")


@hostile("none of the first lines")
def one_object_over_lines(folder):
    return json_file(folder, json.dumps({"videos": [{"path": "a.mp4"}]}, indent=2), "clips.json")


# -- times and lists ------------------------------------------------------------------------------


@hostile(good=2, bad_time=9)
def times(folder):
    pairs = [b"1,2", b",", b"-1,2", b"2,1", b"1,1", b"nan,2", b"0,inf", b"0,1e300", b"soon,2"]
    pairs += [b"0:00:01,0:xx:02", b"0," + b"9" * 5000]
    rows = (b"a.mp4,A,%s" % pair for pair in pairs)
    return own(folder, *rows, source=TIMED, header=b"path,caption,start,end")


@hostile(good=1, bad_time=6)
def frames(folder):
    cells = [b"0,30,30", b"0,30,0", b"0,30,nan", b"0,30,-1", b"30,0,30", b"a,b,30", b"0,30,1e-300"]
    rows = (b"a.mp4,A,%s" % row for row in cells)
    return own(folder, *rows, source=FRAMES, header=b"path,caption,first,last,fps")


def panda(folder: Path, *rows: tuple[str, str]) -> dict:
    good = ("[['0:00:01.5', '0:00:02'], ['0:00:03', '0:00:04']]", '[\'A "dog"\', "B\'s"]')
    quoted = (
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in (good, *rows)
    )
    content = "".join(f"v{i},{row}\n" for i, row in enumerate(quoted))
    return table(folder, b"videoID,timestamp,caption\n" + content.encode(), source=PANDA)


@hostile(good=2, bad_row=7)
def lists(folder):
    spans = "[[1, 2], [3, 4]]"
    return panda(folder, (spans, "['one']"), (spans, "two"), (spans, "[]"), ("", ""),
                 (spans, "['a', 'b'"), (spans, "['a', __import__('os').system('true')]"),
                 (spans, "{'a': 1}"))  # fmt: skip


@hostile(good=3, bad_time=2)
def spans_within_lists(folder):
    return panda(folder, ("[[1, 2], [4, 3], ['x']]", '["a", "b", "c"]'))


@hostile(good=2, bad_row=4)
def deep_lists(folder):
    spans, n = "[[1, 2]]", 100_000
    return panda(folder, (spans, "[" * n + "]" * n), (spans, "['" + "a" * 1000 + "', " + "(" * 20),
                 (spans, "[" + "-" * n + "1, 'a']"), (spans, "[" + "'a'," * n + "]"))  # fmt: skip


@hostile(good=2, cell_too_long=1)
def long_list(folder):
    return panda(folder, ("[[1, 2]]", "['" + "a" * 2**20 + "']"))


# -- Parquet --------------------------------------------------------------------------------------


def parquet(folder: Path, **columns) -> dict:
    pq.write_table(pa.table(columns), folder / "clips.parquet")
    return {**OWN, "table": str(folder / "clips.parquet"), "data_dir": "d"}


@hostile("damaged Parquet file")
def truncated_parquet(folder):
    source = parquet(folder, path=[f"{i}.mp4" for i in range(1000)], caption=["A"] * 1000)
    with open(source["table"], "r+b") as file:
        file.truncate(2000)
    return source


@hostile("damaged Parquet file")
def parquet_with_broken_pages(folder):
    source = parquet(folder, path=[f"{i}-name.mp4" for i in range(9000)], caption=["A"] * 9000)
    content = bytearray(Path(source["table"]).read_bytes())
    content[4:3000] = b"\xa5" * 2996
    Path(source["table"]).write_bytes(content)
    return source


@hostile("is no Parquet file")
def text_as_parquet(folder):
    return table(folder, HEADER + GOOD, "clips.parquet")


@hostile(good=2, bad_text=1, bad_path=1, no_id=1)
def parquet_of_other_types(folder):
    paths = [b"a.mp4", b"b\xff.mp4", b"../c.mp4", None, b"d.mp4"]
    return parquet(folder, path=pa.array(paths, pa.binary()), caption=[[1], [2], [3], [], None])


@hostile("lacks the columns caption")
def parquet_without_the_column(folder):
    return parquet(folder, path=["a.mp4"], text=["A"])


# -- tars -----------------------------------------------------------------------------------------


def tar(folder: Path, content: bytes, name: str = "00000.tar") -> dict:
    (folder / name).write_bytes(content)
    return {"name": "tars", "kind": "tars", "path": str(folder), "caption": "caption"}


def member(name: str | bytes, content: bytes = b"video", kind: bytes = tarfile.REGTYPE, **facts):
    info = tarfile.TarInfo(os.fsdecode(name))
    info.type, info.size = kind, len(content)
    for fact, value in facts.items():
        setattr(info, fact, value)
    head = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return head + content + bytes(-len(content) % 512)


def extended(records: bytes) -> bytes:
    return member("pax", records, tarfile.XHDTYPE)


def record(name: bytes, value: bytes) -> bytes:
    length = len(name) + len(value) + 3
    length += len(str(length + len(str(length))))
    return b"%d %s=%s\n" % (length, name, value)


END = bytes(1024)
FIRST = member("a.mp4") + member("a.txt", b"A dog runs")


@hostile(good=1, truncated=1)
def tar_cut_in_a_member(folder):
    return tar(folder, FIRST + member("b.mp4", b"v" * 5000)[:2000])


@hostile(good=1, truncated=1)
def tar_cut_in_a_header(folder):
    return tar(folder, FIRST + member("b.mp4")[:300])


@hostile(good=1, bad_tar=1)
def tar_with_a_wrong_checksum(folder):
    return tar(folder, FIRST + member("b.mp4").replace(b"b.mp4", b"c.mp4", 1) + END)


@hostile(bad_tar=2)
def no_tars(folder):
    tar(folder, b"<html>not found</html>" * 100, "a.tar")
    return tar(folder, b"", "b.tar")


@hostile(good=1, compressed_tar=3)
def packed_tars(folder):
    import bz2
    import lzma

    tar(folder, gzip.compress(FIRST + END), "b.tar.gz")
    tar(folder, bz2.compress(FIRST + END), "c.tar")
    tar(folder, lzma.compress(FIRST + END), "d.tar.xz")
    return tar(folder, FIRST + END)


@hostile(good=1, no_file=4)
def tar_with_links_and_devices(folder):
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
    members = [member(f"b{i}.mp4", b"", kind, linkname="/etc/passwd")
               for i, kind in enumerate(kinds)]  # fmt: skip
    return tar(folder, b"".join(members) + FIRST + END)


@hostile(good=3, bad_path=5, bad_name=1)
def tar_with_names_that_leave(folder):
    names = ["../b.mp4", "/etc/b.mp4", "a/../../b.mp4", "b\\c.mp4", b"caf\xe9.mp4", "./c.mp4",
             "d/e.mp4"]  # fmt: skip
    nul = extended(record(b"path", b"n\0ul.mp4")) + member("x.mp4")
    return tar(folder, FIRST + b"".join(map(member, names)) + nul + END)


@hostile(good=1, repeated_member=2)
def tar_with_members_twice(folder):
    double = member("b.mp4") + member("b.mp4") + member("c.mp4") + member("c.txt") * 2
    return tar(folder, FIRST + double + END)


@hostile(good=2, sparse_member=2)
def tar_with_holes(folder):
    old = bytearray(member("b.mp4", b"v" * 600, tarfile.GNUTYPE_SPARSE))
    new = extended(record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0"))
    last = member("d.mp4")
    return tar(folder, FIRST + bytes(old) + new + member("c.mp4") + last + END)


@hostile(good=1, truncated=1)
def tar_with_a_header_of_8_gigabytes(folder):
    head = member("pax", b"", tarfile.XHDTYPE, size=8 << 30)
    return tar(folder, FIRST + head + member("b.mp4") + END)


@hostile(good=2, bad_header=3)
def tar_with_bad_extended_headers(folder):
    return tar(folder, FIRST + extended(b"x" * 100_000) + member("b.mp4")
               + member("long", b"n" * 100_000, tarfile.GNUTYPE_LONGNAME) + member("c.mp4")
               + extended(b"999 path=b.mp4\n") + member("d.mp4")
               + member("e.mp4") + END)  # fmt: skip


@hostile(good=2, truncated=1)
def tar_with_stated_sizes(folder):
    good = extended(record(b"size", b"5")) + member("b.mp4")
    return tar(folder, FIRST + good + extended(record(b"size", b"-7")) + member("c.mp4") + END)


@hostile(good=3)
def tar_with_long_names(folder):
    long = member("long", b"n" * 200 + b".mp4\0", tarfile.GNUTYPE_LONGNAME) + member("x.mp4")
    pax = extended(record(b"path", b"p" * 200 + b".mp4")) + member("x.mp4")
    return tar(folder, FIRST + long + pax + END)


@hostile(good=1, text_too_long=2, bad_row=3, bad_text=2, no_video=1, empty_member=1)
def tar_with_bad_texts(folder):
    texts = {"b.json": b"{" + b" " * 2**20 + b"}", "c.txt": b"A" * (2**20 + 1), "d.json": b"{",
             "e.json": b"[" * 100_000, "f.json": b"[1]", "g.txt": b"\xff",
             "h.json": b'{"a":"\xff"}'}  # fmt: skip
    samples = [member(name.split(".")[0] + ".mp4") + member(name, text)
               for name, text in texts.items()]  # fmt: skip
    samples += [member("i.txt"), member("j.mp4", b"")]
    return tar(folder, FIRST + b"".join(samples) + END)


@hostile(good=1, empty_member=20_000)
def tar_of_empty_members(folder):
    info = io.BytesIO()
    for i in range(20_000):
        info.write(member(f"e{i}.mp4", b""))
    return tar(folder, FIRST + info.getvalue() + END)


@hostile("holds no clip")
def folder_without_tars(folder):
    return {"name": "tars", "kind": "tars", "path": str(folder)}


# -- folders --------------------------------------------------------------------------------------


def videos(folder: Path) -> dict:
    (folder / "a.mp4").touch()
    return {"name": "mine", "kind": "folder", "path": str(folder), "pattern": ["*.mp4", "*.MKV"]}


@hostile(good=3, bad_path=3)
def links(folder):
    inner = folder / "inner"
    inner.mkdir()
    (folder / "secret.mp4").touch()
    (inner / "b.mkv").touch()
    (inner / "out.mp4").symlink_to(folder / "secret.mp4")
    (inner / "inside.mp4").symlink_to("b.mkv")
    (inner / "nothing.mp4").symlink_to("absent.mp4")
    (inner / "loop.mp4").symlink_to("loop.mp4")
    (inner / "folder.mp4").symlink_to(folder, target_is_directory=True)
    (inner / "again").symlink_to(inner, target_is_directory=True)
    return videos(inner)


@hostile(good=1, bad_name=3)
def names_in_a_folder(folder):
    (folder / os.fsdecode(b"caf\xe9.mp4")).touch()
    (folder / "new\nline.mp4").touch()
    (folder / os.fsdecode(b"d\xff")).mkdir()
    (folder / os.fsdecode(b"d\xff") / "b.mp4").touch()
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    return videos(folder)


# -- structural captions --------------------------------------------------------------------------


@hostile(good=2, bad_row=6)
def structures(folder):
    cells = ['{"subjects": []}', "{}", "[]", '{"subjects": 3}', '{"subjects": [3]}', "{oops",
             "{'a': " * 20 + "1" + "}" * 20, "[" * 100_000]  # fmt: skip
    rows = [{"path": f"{i}.mp4", "structural_caption": cell} for i, cell in enumerate(cells)]
    return json_file(folder, "\n".join(map(json.dumps, rows)), "clips.jsonl", SKY)
