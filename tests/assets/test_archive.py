import io
import stat
import tarfile
import zipfile

import pytest

from dynamicrafter.assets.archive import extract
from dynamicrafter.errors import InputError

DATA = bytes(range(256)) * 999


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def taken(tmp_path, file: str, archive: bytes, *members: str, size: int = len(DATA)) -> bytes:
    path = tmp_path / file
    path.write_bytes(archive)
    target = tmp_path / "out" / "member"
    extract(path, members, target, size)
    return target.read_bytes()


@pytest.mark.parametrize("file", ["a.zip", "a-1.0-py3-none-any.whl"])
def test_a_member_of_a_zip(tmp_path, file):
    archive = zip_of({"other": b"no", "in/clip.mp4": DATA})
    assert taken(tmp_path, file, archive, "in/clip.mp4") == DATA
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["member"]


def test_a_member_of_a_tar(tmp_path):
    archive = tar_of((tarfile.TarInfo("a/clip.mp4"), DATA), (tarfile.TarInfo("b"), b"no"))
    assert taken(tmp_path, "a.tar.gz", archive, "a/clip.mp4") == DATA


def test_a_zip_in_a_tar_in_a_zip(tmp_path):
    inner = zip_of({"x/clip.mp4": DATA, "y": b"no"})
    middle = tar_of((tarfile.TarInfo("m/inner.zip"), inner))
    outer = zip_of({"d/middle.tar.gz": middle})
    members = ("d/middle.tar.gz", "m/inner.zip", "x/clip.mp4")
    assert taken(tmp_path, "a.whl", outer, *members) == DATA


@pytest.mark.parametrize(
    "info",
    [
        special("clip", tarfile.SYMTYPE, "/etc/hostname"),
        special("clip", tarfile.LNKTYPE, "other"),
        special("clip", tarfile.CHRTYPE),
        special("clip", tarfile.FIFOTYPE),
        special("clip", tarfile.DIRTYPE),
    ],
    ids=["symlink", "hardlink", "device", "fifo", "folder"],
)
def test_only_regular_files_leave_a_tar(tmp_path, info):
    archive = tar_of((tarfile.TarInfo("other"), DATA), (info, b""))
    with pytest.raises(InputError, match="not a regular file"):
        taken(tmp_path, "a.tar.gz", archive, "clip", size=0)
    assert not (tmp_path / "out").exists()


def test_a_symlink_does_not_leave_a_zip(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("clip")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/hostname")
    with pytest.raises(InputError, match="not a regular file"):
        taken(tmp_path, "a.zip", buffer.getvalue(), "clip", size=13)


def test_the_size_is_what_the_manifest_says(tmp_path):
    with pytest.raises(InputError, match=f"has {len(DATA)} bytes, 7 expected"):
        taken(tmp_path, "a.zip", zip_of({"clip": DATA}), "clip", size=7)


def test_a_member_that_inflates_beyond_what_it_states_is_refused(tmp_path):
    archive = zip_of({"clip": bytes(10_000_000)})
    stated = (10_000_000).to_bytes(4, "little")
    lie = archive.replace(stated, (1000).to_bytes(4, "little"))
    assert lie != archive
    with pytest.raises(InputError):
        taken(tmp_path, "a.zip", lie, "clip", size=1000)
    assert not (tmp_path / "out" / "member").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_for_two_members_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("clip", DATA)
        archive.writestr("clip", DATA)
    with pytest.raises(InputError, match="holds 2 members 'clip', one expected"):
        taken(tmp_path, "a.zip", buffer.getvalue(), "clip")


def test_an_absent_member_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.zip holds 0 members 'clap'"):
        taken(tmp_path, "a.zip", zip_of({"clip": DATA}), "clap")


@pytest.mark.parametrize("file", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_a_broken_archive_is_one_line(tmp_path, file, damage):
    whole = zip_of({"clip": DATA}) if file == "a.zip" else tar_of((tarfile.TarInfo("clip"), DATA))
    archive = whole[: len(whole) // 2] if damage == "truncated" else b"not an archive"
    with pytest.raises(InputError, match="cannot read"):
        taken(tmp_path, file, archive, "clip")


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none of \.zip, \.whl"):
        taken(tmp_path, "a.7z", b"7z", "clip")
