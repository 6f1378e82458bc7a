import io
import json
import tarfile

import pytest

from curation.sources import read_clips, source_digest
from dynamicrafter.errors import InputError

SOURCE = {"name": "v2d", "kind": "tars", "caption": "caption", "video_id": "url",
          "duration": "duration"}  # fmt: skip


def write_tar(path, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members.items():
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def shard(n):
    facts = {"url": f"http://v/{n}", "caption": "in json", "key": f"{n:09}", "status": "success",
             "error_message": None, "width": 596, "fps": 29.97, "duration": 18.5,
             "yt_meta_dict": {"info": {"id": "x"}}, "clips": [[1, 2]],
             "dynamic_confidence": 86.7}  # fmt: skip
    return {
        f"{n:09}.txt": b"A dog\nruns ",
        f"{n:09}.json": facts,
        f"{n:09}.mp4": b"video %d" % n,
        f"{n:09}.cls": b"3",
        "README": b"no sample",
    }


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_video2dataset(tmp_path, form):
    write_tar(tmp_path / "00000.tar", shard(0) | shard(1), form)
    first, second = read_clips({**SOURCE, "path": str(tmp_path)})
    assert (first.clip_id, first.source) == ("00000/000000000", "v2d")
    assert (first.root, first.path) == (str(tmp_path), "00000.tar")
    assert (first.caption, first.video_id, first.stated_s) == ("A dog runs", "http://v/0", 18.5)
    assert first.extra == {"url": "http://v/0", "key": "000000000", "status": "success",
                           "width": "596", "fps": "29.97", "duration": "18.5",
                           "dynamic_confidence": "87"}  # fmt: skip
    for clip, content in ((first, b"video 0"), (second, b"video 1")):
        offset, size = clip.member
        assert (tmp_path / clip.path).read_bytes()[offset : offset + size] == content


def test_names_and_suffixes(tmp_path):
    members = {"a/b/x.y.MKV": b"1", "./c.webm": b"2", "c.json": {"caption": "from json"},
               "._d.mp4": b"hidden", "e.AVI": b"3", "ü" * 120 + ".mov": b"4",
               "f.txt": b"alone"}  # fmt: skip
    write_tar(tmp_path / "x.tar", members)
    clips = list(read_clips({**SOURCE, "path": str(tmp_path / "x.tar")}))
    assert [clip.clip_id for clip in clips] == [
        "x/a/b/x", "x/c", "x/e", "x/" + "ü" * 120, "x/f",
    ]  # fmt: skip
    assert [clip.reason for clip in clips] == ["", "", "", "", "no_video"]
    assert clips[1].caption == "from json"
    assert clips[0].caption == "none"


def test_which_tars(tmp_path):
    for name in ("b.tar", "sub/a.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_tar(tmp_path / name, {"k.mp4": b"v"})
    (tmp_path / "note.txt").touch()

    def ids(path):
        return [clip.clip_id for clip in read_clips({**SOURCE, "path": path})]

    assert ids(str(tmp_path)) == ["b/k", "sub/a/k"]
    assert ids(str(tmp_path / "*.tar")) == ["b/k"]
    assert ids([str(tmp_path / "sub/a.tar"), str(tmp_path / "b.tar")]) == ["b/k", "a/k"]
    with pytest.raises(InputError, match="there is no file"):
        ids(str(tmp_path / "c.tar"))


def test_a_link_to_a_tar_elsewhere(tmp_path):
    (tmp_path / "in").mkdir()
    write_tar(tmp_path / "a.tar", {"k.mp4": b"v"})
    (tmp_path / "in/a.tar").symlink_to("../a.tar")
    for path in ("in", "in/a.tar"):
        (clip,) = read_clips({**SOURCE, "path": str(tmp_path / path)})
        assert (clip.reason, clip.path) == ("bad_path", "")


def test_the_digest_sees_names_sizes_and_times(tmp_path):
    source = {**SOURCE, "path": str(tmp_path)}
    write_tar(tmp_path / "a.tar", {"k.mp4": b"v"})
    before = source_digest(source)
    assert source_digest(source) == before
    write_tar(tmp_path / "b.tar", {"k.mp4": b"v"})
    assert source_digest(source) != before


def test_what_is_wrong_is_told(tmp_path):
    write_tar(tmp_path / "a.tar", {"k.mp4": b"v", "../k.mp4": b"v", "l.mp4": b"v" * 900})
    with open(tmp_path / "a.tar", "r+b") as file:
        file.truncate(512 * 5 + 100)
    good, leaves, cut = read_clips({**SOURCE, "path": str(tmp_path)})
    assert good.reason == ""
    assert leaves.clip_id == "a.tar@1536"
    assert leaves.message == "a.tar, byte 1536: the path '../k.mp4' leaves the folder"
    assert (cut.clip_id, cut.reason) == ("a/l", "truncated")
