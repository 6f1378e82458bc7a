"""Every way in which a file is not the video that its row says, and its verdict."""

import csv
import io
import os
import shutil
import tarfile
import time

import hydra
import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.clip import Clip
from curation.commands import verify_file
from curation.commands import verify_source as verify
from dynamicrafter import runs
from dynamicrafter.errors import FailedShareError
from tests.media.clips import write_video

FPS, SECONDS = 10, 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Four seconds of noise in several containers; the faststart one has its index in front."""
    folder = tmp_path_factory.mktemp("whole")
    noise = np.random.default_rng(0).integers(0, 256, (FPS * SECONDS, 64, 96, 3), np.uint8)
    for name in ("plain.mp4", "film.mkv", "film.avi", "film.ts"):
        write_video(folder / name, noise, fps=FPS)
    remux(folder / "plain.mp4", folder / "faststart.mp4", {"movflags": "faststart"})
    remux(
        folder / "plain.mp4",
        folder / "fragmented.mp4",
        {"movflags": "frag_keyframe+empty_moov"},
    )
    return folder


def remux(source, target, options):
    import av

    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)


def config(folder, *overrides):
    with hydra.initialize_config_module("conf", version_base="1.3"):
        return hydra.compose(
            "verify_source",
            [f"run_dir={folder}", "tracking=disabled", "unit_timeout_s=60", *overrides],
        )


def verified(folder, *overrides):
    """clip_id → its row of the table."""
    from dynamicrafter.command import run_in_folder

    run_in_folder(config(folder, *overrides), "curation.commands.verify_source")
    return rows_of(folder)


def rows_of(folder):
    return {row["clip_id"]: row for row in pq.read_table(folder / verify.TABLE).to_pylist()}


def check(path, deep=False):
    return verify_file.check_file(Clip(path.name, "s", str(path.parent), path.name), deep)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    "name",
    ["plain.mp4", "faststart.mp4", "fragmented.mp4", "film.mkv", "film.avi", "film.ts"],
)
def test_whole_files_are_ok(whole, name, deep):
    facts = check(whole / name, deep)
    assert facts["verdict"] is None, facts["message"]
    assert facts["duration_s"] == pytest.approx(SECONDS, abs=0.11)
    assert facts["bytes"] == (whole / name).stat().st_size


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95, 0.999])
@pytest.mark.parametrize("name", ["plain.mp4", "faststart.mp4", "film.mkv", "film.avi"])
def test_a_file_that_is_cut_anywhere_is_truncated(whole, tmp_path, name, share):
    data = (whole / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(data[: int(len(data) * share)])
    facts = check(cut)
    assert facts["verdict"] == "truncated", facts
    assert str(tmp_path) not in facts["message"]


def test_packets_tell_what_a_container_that_states_no_length_hides(whole, tmp_path):
    """A Matroska file with an unknown segment size, as a live recording has it, cut at half."""
    data = bytearray((whole / "film.mkv").read_bytes())
    at = data.index(b"\x18\x53\x80\x67") + 4
    data[at : at + 8] = b"\x01" + b"\xff" * 7
    cut = tmp_path / "live.mkv"
    cut.write_bytes(data)
    assert check(cut)["verdict"] is None
    cut.write_bytes(data[: len(data) // 2])
    facts = check(cut)
    assert facts["verdict"] == "truncated"
    assert "it states 4.00 s" in facts["message"]


def test_damage_within_shows_only_to_a_deep_look(whole, tmp_path):
    data = bytearray((whole / "plain.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = b"\xff" * 2000
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    assert check(damaged)["verdict"] is None
    facts = check(damaged, deep=True)
    assert facts["verdict"] == "unreadable"
    assert "frames of damaged.mp4 cannot be decoded, the first at" in facts["message"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"\0" * 9999, "filled with zeros"),
        (b"<!DOCTYPE html>\n<html><head><title>403 Forbidden", "an HTML page"),
        (b"\xef\xbb\xbf  <HTML>", "an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "an XML document"),
        (b'{"error": "rate limited"}', "JSON text"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "a playlist"),
        (b"Access denied\n", "text: 'Access denied'"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"\x00\x01\xfe\xdc", "it begins with b'\\x00\\x01\\xfe\\xdc'"),
    ],
)
def test_what_is_no_video_is_told_in_words(tmp_path, content, words):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    facts = check(path)
    assert facts["verdict"] == "not_video"
    assert words in facts["message"]


def test_other_files(whole, tmp_path):
    assert check(tmp_path / "none.mp4")["verdict"] == "missing"
    os.mkfifo(tmp_path / "pipe.mp4")
    assert check(tmp_path / "pipe.mp4")["verdict"] == "missing"
    (tmp_path / "link.mp4").symlink_to(whole / "plain.mp4")
    assert check(tmp_path / "link.mp4")["verdict"] == "bad_path"
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as made:
        stream = made.add_stream("aac", 16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.rate = 16000
        made.mux(stream.encode(silence))
        made.mux(stream.encode())
    assert check(tmp_path / "sound.mp4")["verdict"] == "no_video_stream"
    junk = np.random.default_rng(0).bytes(5000)
    (tmp_path / "junk.mp4").write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0" + junk)
    assert check(tmp_path / "junk.mp4")["verdict"] == "unreadable"


@pytest.fixture
def table(whole, tmp_path):
    """A table and its videos: one row of each kind."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("good", "long", "ends", "begins"):
        shutil.copy(whole / "plain.mp4", videos / f"{name}.mp4")
    (videos / "page.mp4").write_text("<html>404</html>")
    (videos / "=1+1.mp4").write_bytes((whole / "faststart.mp4").read_bytes()[:9000])
    (videos / "leaves.mp4").symlink_to(whole / "plain.mp4")
    path = tmp_path / "clips.csv"
    rows = [
        ("good.mp4", "0", "", "4.4"),
        ("long.mp4", "0", "", "PT00H00M18S"),
        ("ends.mp4", "1", "9.5", ""),
        ("begins.mp4", "4.2", "4.9", ""),
        ("page.mp4", "0", "", "4"),
        ("=1+1.mp4", "0", "", "4"),
        ("leaves.mp4", "0", "", "4"),
        ("gone.mp4", "0", "", "4"),
        ("../outside.mp4", "0", "", "4"),
        ("bad.mp4", "five", "", "4"),
    ]
    lines = [",".join((f"word {n}", *row)) for n, row in enumerate(rows)]
    path.write_text("\n".join(["caption,path,start,end,duration", *lines]) + "\n")
    return [
        "source=table",
        f"source.table={path}",
        f"source.data_dir={videos}",
        "source.start=start",
        "source.end=end",
        "source.duration=duration",
    ]


def test_a_source_gets_a_verdict_for_each_row(table, tmp_path):
    rows = verified(tmp_path / "run", *table)
    verdicts = {name: row["verdict"] for name, row in rows.items()}
    expected = {
        "good.mp4": "ok",
        "long.mp4": "other_length",
        "ends.mp4": "other_length",
        "begins.mp4": "other_length",
        "page.mp4": "not_video",
        "=1+1.mp4": "truncated",
        "leaves.mp4": "bad_path",
        "gone.mp4": "missing",
        "clips.csv:10": "bad_path",  # ../outside.mp4
        "clips.csv:11": "bad_time",
    }
    assert verdicts == expected
    assert rows["long.mp4"]["message"] == "lasts 4.00 s, the table states 18.00 s"
    assert rows["good.mp4"]["stated_s"] == 4.4

    with (tmp_path / "run" / verify.REPORT).open(newline="") as file:
        report = list(csv.DictReader(file))
    assert len(report) == 9
    assert all(cell.strip() and cell[0] not in "=+-@" for row in report for cell in row.values())
    assert "'=1+1.mp4" in {row["path"] for row in report}


def test_too_large_a_bad_share_is_an_error_after_the_report(table, tmp_path, capsys):
    with pytest.raises(FailedShareError, match="9 of 10 clips are not ok"):
        verified(tmp_path / "run", *table, "max_failed_share=0.5")
    assert len(rows_of(tmp_path / "run")) == 10
    said = capsys.readouterr().err.splitlines()
    assert ["ok", "1", "10.00", "%", "a", "whole", "video"] in [line.split() for line in said]


def test_files_that_did_not_change_are_not_looked_at_again(table, tmp_path, monkeypatch):
    verified(tmp_path / "run", *table, "part_rows=2")
    looked = []
    real = verify._isolated_facts
    monkeypatch.setattr(
        verify,
        "_isolated_facts",
        lambda clip, *rest: looked.append(clip.clip_id) or real(clip, *rest),
    )
    # a stopped run: its last parts are gone
    part = next(iter(verify.listing.parts(tmp_path / "run")))
    verify.facts_path(part, False, tmp_path / "run").unlink()
    (tmp_path / "run" / runs.DONE).unlink()
    verified(tmp_path / "run", *table, "part_rows=2")
    assert 1 <= len(looked) <= 4

    looked.clear()  # another tolerance looks at no file
    rows = verified(tmp_path / "run", *table, "part_rows=2", "tolerance_s=20")
    assert looked == []
    assert rows["long.mp4"]["verdict"] == "ok"

    videos = tmp_path / "videos"  # a file that is mended is looked at, with its part
    shutil.copy(videos / "good.mp4", videos / "page.mp4")
    rows = verified(tmp_path / "run", *table, "part_rows=2", "tolerance_s=20")
    assert rows["page.mp4"]["verdict"] == "ok"
    assert "page.mp4" in looked
    assert len(looked) <= 4


def test_a_member_of_a_tar(whole, tmp_path):
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        data = (whole / "plain.mp4").read_bytes()
        for key, content in (("whole", data), ("cut", data[: len(data) // 2])):
            for ending, text in ((".mp4", content), (".txt", b"words")):
                member = tarfile.TarInfo(key + ending)
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text))
    rows = verified(tmp_path / "run", "source=video2dataset", f"source.path={tmp_path}")
    found = {name.split("/")[-1]: row for name, row in rows.items()}
    verdicts = sorted((row["verdict"], row["bytes"]) for row in found.values())
    assert verdicts == [("ok", len(data)), ("truncated", len(data) // 2)]
    assert all("curate-" not in (row["message"] or "") for row in found.values())


def hang_or_die(clip, deep):
    if clip.path == "hang.mp4":
        time.sleep(60)
    os._exit(3)


def test_files_that_harm_are_told_apart_and_tried_again(tmp_path, monkeypatch):
    from curation.passes import listing
    from dynamicrafter.media.isolation import Isolation

    clips = [Clip(name, "s", str(tmp_path), name) for name in ("hang.mp4", "die.mp4")]
    listing.freeze(iter(clips), 8, True, "d", tmp_path)
    (part,) = listing.parts(tmp_path)
    with Isolation(2, 1.0) as isolated:
        with monkeypatch.context() as patched:
            patched.setattr(verify, "check_file", hang_or_die)
            verify.verify_part(part, isolated, deep=False, timeout_s=1.0, folder=tmp_path)
        facts = verify.read_rows(verify.facts_path(part, False, tmp_path))
        assert [row["verdict"] for row in facts] == ["timeout", "crashed"]
        verify.verify_part(part, isolated, deep=False, timeout_s=1.0, folder=tmp_path)
        assert verify.read_rows(verify.facts_path(part, False, tmp_path)) == facts
        verify.verify_part(part, isolated, deep=False, timeout_s=9.0, folder=tmp_path)
        facts = verify.read_rows(verify.facts_path(part, False, tmp_path))
        assert [row["verdict"] for row in facts] == ["missing", "missing"]
