import os

import pytest

from curation.sources import read_clips, source_digest
from dynamicrafter import assets
from dynamicrafter.errors import InputError


def folder(path, pattern="*.mp4"):
    return {"name": "mine", "kind": "folder", "path": str(path), "pattern": pattern}


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def ids(source):
    return [clip.clip_id for clip in read_clips(source)]


def test_folder(tmp_path):
    touch(tmp_path, "b/2.mp4", "a.mp4", "a.txt", "b/1.MP4", "c.mkv")
    first, *_ = read_clips(folder(tmp_path))
    assert (first.root, first.path) == (str(tmp_path), "a.mp4")
    assert (first.source, first.caption, first.reason) == ("mine", "none", "")
    assert ids(folder(tmp_path)) == ["a.mp4", "b/1.MP4", "b/2.mp4"]
    assert ids(folder(tmp_path, ["*.mkv", "a.*"])) == ["a.mp4", "a.txt", "c.mkv"]
    assert ids(folder(tmp_path, "b/*.mp4")) == ["b/1.MP4", "b/2.mp4"]


def test_a_source_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="holds no clip"):
        read_clips(folder(tmp_path))
    with pytest.raises(InputError, match="no folder"):
        read_clips(folder(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"source\.kind is 'ftp'; the kinds are table, "):
        read_clips({**folder(tmp_path), "kind": "ftp"})
    with pytest.raises(InputError, match=r"source\.path is not set"):
        read_clips({"name": "mine", "kind": "folder"})


def test_names_that_cannot_be_ids(tmp_path):
    touch(tmp_path, os.fsdecode(b"caf\xe9.mp4"), "b.mp4")
    good, bad = read_clips(folder(tmp_path))
    assert (good.clip_id, good.reason) == ("b.mp4", "")
    assert (bad.clip_id, bad.reason, bad.path) == ("caf\\xe9.mp4", "bad_name", "")
    assert "rename the file" in bad.message


def test_links(tmp_path):
    touch(tmp_path, "in/a.mp4", "out.mp4")
    (tmp_path / "in/b.mp4").symlink_to("a.mp4")
    (tmp_path / "in/c.mp4").symlink_to("../out.mp4")
    (tmp_path / "in/sub").symlink_to(tmp_path)
    a, b, c = read_clips(folder(tmp_path / "in"))
    assert (a.reason, b.reason, c.reason) == ("", "", "bad_path")
    assert "leaves the folder" in c.message
    (tmp_path / "link").symlink_to("in")  # what the user names may itself be a link
    assert ids(folder(tmp_path / "link")) == ["a.mp4", "b.mp4", "c.mp4"]


def test_the_digest_of_a_folder_sees_names_sizes_and_times(tmp_path):
    touch(tmp_path, "a.mp4", "note.txt")
    seen = [source_digest(folder(tmp_path))]
    (tmp_path / "note.txt").write_text("no clip")
    assert source_digest(folder(tmp_path)) == seen[0]
    (tmp_path / "a.mp4").write_text("more")
    seen.append(source_digest(folder(tmp_path)))
    os.utime(tmp_path / "a.mp4", (1, 1))
    seen.append(source_digest(folder(tmp_path)))
    (tmp_path / "a.mp4").rename(tmp_path / "b.mp4")
    seen.append(source_digest(folder(tmp_path)))
    assert len(set(seen)) == 4


def test_the_digest_of_a_table_is_of_its_content(tmp_path):
    table = tmp_path / "clips.csv"
    table.write_text("path,caption\na.mp4,A\n")
    source = {"name": "own", "kind": "table", "table": str(table), "data_dir": "d",
              "path": "path", "clip_id": "path", "caption": "caption"}  # fmt: skip
    before = source_digest(source)
    os.utime(table, (1, 1))
    assert source_digest(source) == before
    table.write_text("path,caption\na.mp4,B\n")
    assert source_digest(source) != before
    with pytest.raises(InputError, match="there is no file"):
        source_digest({**source, "table": str(tmp_path / "absent.csv")})


def test_assets(tmp_path, monkeypatch):
    name = "big-buck-bunny"
    monkeypatch.setattr(assets, "path", lambda name: tmp_path / f"{name}.mp4")
    source = {"name": "demo", "kind": "assets", "assets": [name]}
    (clip,) = read_clips(source)
    assert (clip.clip_id, clip.root, clip.path) == (name, str(tmp_path), f"{name}.mp4")
    assert set(clip.extra) == {"licence", "attribution"}
    assert source_digest(source) != source_digest({**source, "assets": ["sports2d"]})
