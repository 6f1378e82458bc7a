"""JSON, Parquet, times, lists and structural captions that are broken or made to harm."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.curation.hostile.sources import (
    FRAMES,
    GOOD,
    HEADER,
    OWN,
    PANDA,
    SKY,
    TIMED,
    hostile,
    json_file,
    own,
    table,
)

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


@hostile(good=2, bad_row=6)
def structures(folder):
    cells = ['{"subjects": []}', "{}", "[]", '{"subjects": 3}', '{"subjects": [3]}', "{oops",
             "{'a': " * 20 + "1" + "}" * 20, "[" * 100_000]  # fmt: skip
    rows = [{"path": f"{i}.mp4", "structural_caption": cell} for i, cell in enumerate(cells)]
    return json_file(folder, "\n".join(map(json.dumps, rows)), "clips.jsonl", SKY)
