import gzip
import json
import math
import tracemalloc
from collections import deque

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.sources import read_clips
from curation.sources.cells import BadRow, check_path, clean, literal
from curation.sources.times import seconds
from dynamicrafter.errors import InputError
from tests.curation.hostile.sources import GOOD, HEADER, OWN, WEBVID, table

ROWS = [{"path": "a.mp4", "caption": "A dog"}, {"path": "b.mp4", "caption": "A cat, asleep"}]


def as_csv(delimiter):
    head, *rows = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    lines = [head, *([f'"{cell}"' for cell in row] for row in rows)]
    return "".join(delimiter.join(line) + "\n" for line in lines).encode()


FORMS = {
    "clips.csv": as_csv(","),
    "clips.tsv": as_csv("\t"),
    "clips.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "clips.json": json.dumps(ROWS, indent=2).encode(),
    "lines.json": "\n".join(map(json.dumps, ROWS)).encode(),
    "part-00000": b"\xef\xbb\xbf" + as_csv(",").replace(b"\n", b"\r\n"),
}
FORMS |= {f"{name}.gz": gzip.compress(content) for name, content in FORMS.items()}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_clips(tmp_path, name):
    source = table(tmp_path, FORMS[name], name, OWN)
    clips = list(read_clips(source))
    assert [(clip.clip_id, clip.path, clip.caption) for clip in clips] == [
        ("a.mp4", "a.mp4", "A dog"),
        ("b.mp4", "b.mp4", "A cat, asleep"),
    ]
    assert clips[0].root == str(tmp_path / "data")


def test_parquet_in_batches(tmp_path):
    names, rows = [f"{i}.mp4" for i in range(5000)], range(5000)
    columns = {"path": names, "caption": [None if i == 7 else f"A {i % 3}" for i in rows]}
    columns |= {"score": [i / 2 for i in rows], "id": pa.array(rows, pa.int64())}
    pq.write_table(pa.table(columns), tmp_path / "clips.parquet", row_group_size=1500)
    source = {**OWN, "table": str(tmp_path / "clips.parquet"), "data_dir": "d",
              "extra": ["score", "id"]}  # fmt: skip
    clips = list(read_clips(source))
    assert [clip.clip_id for clip in clips] == names
    assert (clips[7].caption, clips[8].caption) == ("none", "A 2")
    assert clips[9].extra == {"score": "4.5", "id": "9"}
    assert clips[8].extra == {"score": "4", "id": "8"}  # pandas makes floats of ids


def test_a_column_map(tmp_path):
    content = b"id,set name,text,from,to,kind,dynamic_confidence\n7,s 1,A cat,1.5,0:00:03,x,86.6\n"
    source = table(tmp_path, content, source={
        "name": "own", "kind": "table", "path": "{set name}/{id}.mp4", "clip_id": "c{id}-{end_ms}",
        "video_id": "id", "caption": "{text}, {kind}", "start": "from", "end": "{to}",
        "extra": {"set": "set name", "dynamic_confidence": "dynamic_confidence", "none": "absent"},
        "missing": ["x"],
    })  # fmt: skip
    (clip,) = read_clips(source)
    assert (clip.clip_id, clip.path, clip.video_id) == ("c7-3000", "s 1/7.mp4", "7")
    assert (clip.start_s, clip.end_s, clip.source_video) == (1.5, 3.0, "7")
    assert clip.caption == "A cat, x"  # a template is empty only where all its columns are
    assert clip.extra == {"set": "s 1", "dynamic_confidence": "87"}


def test_a_column_map_that_does_not_fit(tmp_path):
    source = table(tmp_path, HEADER + GOOD)
    for entry, value, message in [
        ("caption", "text", "clips.csv lacks the columns text; it has videoid, contentUrl, durat"),
        ("path", "{page_dir", "names of columns in braces"),
        ("path", "{}.mp4", "names of columns in braces"),
        ("clip_id", None, r"source\.clip_id is not set"),
        ("data_dir", None, r"source\.data_dir is not set"),
        ("nested", ["page_idx"], r"source\.nested names no column"),
    ]:
        with pytest.raises(InputError, match=message):
            read_clips({**source, entry: value})


def test_partitions_in_the_order_of_their_names(tmp_path):
    for name, first in [("part/2.csv", "c"), ("part/10.csv", "b"), ("more/2.csv", "a")]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"caption,path\nA,{first}.mp4\nA,/{first}\n")
    source = {**OWN, "data_dir": "d", "table": str(tmp_path / "part/*.csv")}
    clips = list(read_clips(source))
    assert [clip.clip_id for clip in clips] == ["b.mp4", "10.csv:3", "c.mp4", "2.csv:3"]
    assert clips[1].message.startswith("10.csv line 3: the path '/b' is absolute")
    both = {**source, "table": [source["table"], str(tmp_path / "more/2.csv")]}
    found = [clip.clip_id for clip in read_clips(both)]
    assert found[:2] == ["a.mp4", f"{tmp_path}/more/2.csv:3"]  # names alone would be the same
    assert len(set(found)) == 6


def test_what_is_wrong_with_a_row_is_told(tmp_path):
    content = HEADER + b"1,u,x,p\n" + GOOD + b'3,u,x,p,"a\nb"\n' + b"2,u,x,../q,A\n"
    bad, good, lines, leaves = read_clips(table(tmp_path, content))
    assert (bad.clip_id, bad.reason) == ("clips.csv:2", "bad_row")
    assert bad.message == "clips.csv line 2: 4 cells, the header has 5"
    assert (good.reason, lines.caption) == ("", "a b")
    assert leaves.message == "clips.csv line 6: the path 'videos/../q/2.mp4' leaves the folder"


def test_captions_are_cut_and_cleaned(tmp_path):
    content = HEADER + b"1,u\x07,x,p," + b"word " * 2000 + b"\n2,u,x,p,x\n3,u,x,p,\0 \x1b\n"
    long, filler, empty = read_clips(table(tmp_path, content))
    assert len(long.caption) == 4999
    assert long.extra["caption_cut"] == "true"
    assert long.extra["contentUrl"] == "u"
    assert (filler.caption, empty.caption) == ("none", "none")
    assert clean("a\u202eb\u200d c\t\r\nd\x00\ud800\u2028e") == "ab\u200d c d e"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    for count in (10_000, 200_000):
        with open(tmp_path / "clips.csv", "wb") as file:
            file.write(HEADER)
            file.writelines(
                b"%d,u%d,PT00H00M18S,p,A dog runs %d\n" % (i, i, i) for i in range(count)
            )
        source = {**WEBVID, "table": str(tmp_path / "clips.csv"), "data_dir": "d"}
        tracemalloc.start()
        deque(read_clips(source), maxlen=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2 * 2**20


@pytest.mark.parametrize(
    ("text", "value"),
    [("12.5", 12.5), ("0:01:02.250", 62.25), ("1:02,5", 62.5), ("PT00H00M18S", 18.0),
     ("PT1H2M3.5S", 3723.5), ("1e1", 10.0), ("0", 0.0)],
)  # fmt: skip
def test_seconds(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "PT", "nan", "-1", "inf", "1:2:3:4", "1h", "9" * 9999, "1e9"])
def test_no_seconds(text):
    with pytest.raises(ValueError):
        seconds(text)


def test_lists():
    assert literal('["a", NaN, 1.5]') == ["a", None, 1.5]
    assert literal("['it\\'s', \"b'c\", nan, True, (1, 2e-3)]") == [
        "it's",
        "b'c",
        None,
        True,
        (1, 0.002),
    ]
    assert literal("[':((((((((((', 1]") == [":((((((((((", 1]
    for text in (
        "[1",
        "1]",
        "[[[[[[[[['a']]]]]]]]]",
        "f(1)",
        "[a]",
        "['a' + 'b']",
        "[1 for i in 'a']",
    ):
        with pytest.raises(BadRow):
            literal(text)
    assert math.isclose(literal("[0.1]")[0], 0.1)


@pytest.mark.parametrize("path", ["a.mp4", "./a.mp4", "a b/ü.mp4", "a..b/...mp4", "-a/_b.mp4"])
def test_paths(path):
    check_path(path)


@pytest.mark.parametrize(
    "path", ["", "/a", "a/../b", "..", "a//b", "a\\b", "a\0b", "a\nb", "a/" + "b" * 256]
)
def test_paths_that_no_clip_has(path):
    with pytest.raises(BadRow) as caught:
        check_path(path)
    assert caught.value.reason == "bad_path"
