import os

import pytest

from curation.sources import read_clips
from dynamicrafter.errors import InputError

COLUMNS = {name: name for name in ("videoid", "page_dir", "name", "contentUrl")}
HEADER = "videoid,contentUrl,duration,page_dir,name\n"


def webvid(tmp_path, text, columns=COLUMNS):
    (tmp_path / "clips.csv").write_text(text)
    return read_clips({"name": "webvid", "kind": "webvid_csv", "csv": str(tmp_path / "clips.csv"),
                       "data_dir": str(tmp_path / "data"), "columns": columns})  # fmt: skip


def test_webvid(tmp_path):
    clips = webvid(tmp_path, HEADER
                   + '12,http://x/12.mp4,PT00H00M18S,000001_000050,"A dog, ""Rex"", runs"\n'
                   + "12,http://x/12.mp4,PT00H00M18S,000001_000050,The same again\n"
                   + "13,,PT00H00M09S,000001_000050,\n")  # fmt: skip
    assert [clip.clip_id for clip in clips] == ["000001_000050_12", "000001_000050_13"]
    assert clips[0].caption == 'A dog, "Rex", runs'
    assert clips[0].path == tmp_path / "data/videos/000001_000050/12.mp4"
    assert clips[0].extra == {"page_dir": "000001_000050", "contentUrl": "http://x/12.mp4"}
    assert clips[1].caption == "none"
    assert "contentUrl" not in clips[1].extra


def test_a_table_cannot_point_outside(tmp_path):
    with pytest.raises(InputError, match="leaves the folder"):
        webvid(tmp_path, HEADER + "passwd,x,x,../../../etc,caption\n")


def test_other_columns(tmp_path):
    with pytest.raises(InputError, match="lacks the columns caption"):
        webvid(tmp_path, HEADER, {**COLUMNS, "name": "caption"})
    mapped = {"videoid": "id", "page_dir": "dir", "name": "text"}
    clips = webvid(tmp_path, "id,dir,text\n7,d,A cat\n", mapped)
    assert (clips[0].clip_id, clips[0].caption) == ("d_7", "A cat")


@pytest.mark.parametrize("cell", [b"caf\xe9", b"x" * 200_000])
def test_a_broken_table_is_named(tmp_path, cell):
    webvid(tmp_path, HEADER + "1,x,x,p,caption\n")
    path = tmp_path / "clips.csv"
    path.write_bytes(path.read_bytes().replace(b"caption", cell))
    with pytest.raises(InputError, match=r"clips\.csv is no CSV in UTF-8"):
        read_clips({"name": "webvid", "kind": "webvid_csv", "csv": str(path),
                    "data_dir": str(tmp_path), "columns": COLUMNS})  # fmt: skip


def test_a_file_name_that_is_not_utf8(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.mp4")).touch()
    source = {"name": "mine", "kind": "folder", "path": str(tmp_path), "pattern": "*.mp4"}
    with pytest.raises(InputError, match="not UTF-8; rename the file"):
        read_clips(source)


def test_folder(tmp_path):
    for name in ("b/2.mp4", "a.mp4", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    source = {"name": "mine", "kind": "folder", "path": str(tmp_path), "pattern": "*.mp4"}
    assert [clip.clip_id for clip in read_clips(source)] == ["a.mp4", "b/2.mp4"]
    with pytest.raises(InputError, match="holds no clip"):
        read_clips({**source, "pattern": "*.mkv"})
    with pytest.raises(InputError, match="no folder"):
        read_clips({**source, "path": str(tmp_path / "nowhere")})
    with pytest.raises(InputError, match=r"source\.kind is 'ftp'"):
        read_clips({**source, "kind": "ftp"})
