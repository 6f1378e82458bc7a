"""Tars and folders that are broken or made to harm."""

import gzip
import io
import os
import tarfile
from pathlib import Path

from tests.curation.hostile.sources import hostile


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
