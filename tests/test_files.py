import errno
import os
import subprocess
import sys

import pytest

from dynamicrafter import files
from dynamicrafter.errors import InputError, MachineError


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    target = tmp_path / "value.txt"
    files.write_text(target, "old")

    def torn_write():
        with files.atomic_path(target) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        torn_write()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["value.txt"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    def torn_folder():
        with files.atomic_folder(tmp_path / "whole") as partial:
            files.write_text(partial / "a", "1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        torn_folder()
    assert os.listdir(tmp_path) == []
    with files.atomic_folder(tmp_path / "whole") as partial:
        files.write_text(partial / "a", "1")
    assert (tmp_path / "whole" / "a").read_text() == "1"


def test_a_killed_writer_leaves_only_what_the_sweep_removes(tmp_path):
    code = (
        "import os, sys; from dynamicrafter import files\n"
        f"with files.atomic_path({str(tmp_path / 'a.bin')!r}) as t:\n"
        "    t.write_bytes(b'x' * 100); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code])
    assert not (tmp_path / "a.bin").exists()
    assert files.sweep_temporaries(tmp_path) == 1
    assert os.listdir(tmp_path) == []


def test_json_refuses_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_read_json_names_the_file(tmp_path):
    (tmp_path / "bad.json").write_text("<html>")
    with pytest.raises(InputError, match=r"bad\.json is not JSON"):
        files.read_json(tmp_path / "bad.json")
    with pytest.raises(InputError, match="does not exist"):
        files.read_json(tmp_path / "none.json")


def test_digests_of_known_content(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert files.sha256_file(tmp_path / "abc") == files.sha256_bytes(b"abc") == known
    assert files.sha256_json({"b": 1, "a": 2}) == files.sha256_bytes(b'{"a":2,"b":1}')


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a\0b"])
def test_inside_refuses_paths_that_leave(tmp_path, path):
    with pytest.raises(InputError):
        files.inside(tmp_path, path)


def test_inside_refuses_a_link_that_leaves(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="leaves"):
        files.inside(tmp_path / "root", "link/secret")
    assert files.inside(tmp_path / "root", "a/b") == tmp_path / "root" / "a" / "b"


def test_a_second_process_is_refused(tmp_path):
    code = f"from dynamicrafter import files\nwith files.folder_lock({str(tmp_path)!r}): pass"
    with files.folder_lock(tmp_path):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MachineError" in second.stderr
    assert "is in use by another run" in second.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_lock_error_is_a_machine_error():
    assert MachineError.exit_code == 4


def test_a_digest_is_taken_again_once_the_file_has_changed(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(files, "sha256_file", lambda path: calls.append(path) or str(len(calls)))
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert [files.file_digest(p) for p in (path, path, link)] == ["1"] * 3
    os.utime(path, ns=(0, 1))
    assert files.file_digest(path) == "2"
    path.write_bytes(b"longer")
    assert files.file_digest(link) == "3"


def test_many_digests_come_in_order_and_each_file_is_read_once(tmp_path, monkeypatch):
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths:
        path.write_text(f"content {path.name}")
    expected = [files.sha256_file(path) for path in paths]
    read = []
    real = files.sha256_file
    monkeypatch.setattr(files, "sha256_file", lambda path: read.append(path) or real(path))
    assert files.file_digests([*paths, paths[0]])[:20] == expected
    assert files.file_digests(paths[::-1]) == expected[::-1]
    assert set(read) == set(paths)
    assert len(read) <= 21  # the one that was named twice may be read by two threads at once
