import errno
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from dynamicrafter import assets
from dynamicrafter.assets import store
from dynamicrafter.assets.package_index import pip_setting, without_credentials
from dynamicrafter.errors import InputError, MachineError

FILE = "toy-1.0-py3-none-any.whl"
CLIP = os.urandom(300_000)  # does not compress: the archive is as large


@pytest.fixture
def toy(index, cache, add_manifest):
    """An index that serves a wheel of two clips, and the manifest entries for them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("toy/clip.mp4", CLIP)
        archive.writestr("toy/second.mp4", CLIP[::-1])
        archive.writestr("toy/setup.py", "raise SystemExit('never run')")
    index.files[FILE] = buffer.getvalue()
    entries = {
        "clip": {"data": CLIP, "member": ["toy/clip.mp4"]},
        "second": {"data": CLIP[::-1], "member": ["toy/second.mp4"]},
    }
    add_manifest(buffer.getvalue(), FILE, entries)
    return index


def partial_file(cache: Path) -> Path:
    folder = cache / "downloads" / assets.load_manifest()["clip"].source.sha256[:8]
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{FILE}.partial"


def test_fetch_keeps_the_members_alone(toy, cache):
    seen = []
    paths = assets.fetch(["second", "clip"], lambda *progress: seen.append(progress))
    assert [path.read_bytes() for path in paths] == [CLIP[::-1], CLIP]
    assert [path.name for path in paths] == ["second.mp4", "clip.mp4"]
    assert assets.path("clip") == paths[1]
    assert seen[-1] == (FILE, len(toy.files[FILE]), len(toy.files[FILE]))
    kept = {path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert kept == set(paths)
    assets.fetch(["second", "clip"])
    assert len(toy.requests) == 1


def test_path_of_what_is_absent_names_the_command(toy, cache):
    with pytest.raises(InputError, match="run: dynamicrafter assets fetch clip"):
        assets.path("clip")
    with pytest.raises(InputError, match="no asset 'clop'; there are sports2d"):
        assets.path("clop")


def test_damage_is_seen_and_repaired(toy):
    (path,) = assets.fetch(["clip"])
    assert assets.verify(["clip", "second"]) == {"clip": "whole", "second": "absent"}
    path.write_bytes(CLIP[:-1] + b"?")
    assert assets.verify(["clip"]) == {"clip": "damaged"}
    assets.fetch(["clip"])
    assert path.read_bytes() == CLIP


def test_a_download_goes_on_where_it_stopped(toy, cache, pauses):
    toy.break_after = [100_000]
    (path,) = assets.fetch(["clip"])
    assert path.read_bytes() == CLIP
    (_, first), (_, second) = toy.requests
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 100_000


def test_a_later_run_goes_on_too(toy, cache):
    partial_file(cache).write_bytes(toy.files[FILE][:123_456])
    assets.fetch(["clip"])
    assert [asked for _, asked in toy.requests] == ["bytes=123456-"]


@pytest.mark.parametrize("size", [123_456, 10_000_000])
def test_a_partial_that_does_not_fit_is_thrown_away(toy, cache, size):
    partial_file(cache).write_bytes(bytes(size))
    (path,) = assets.fetch(["clip"])
    assert path.read_bytes() == CLIP


def test_a_server_without_ranges_starts_over(toy, cache):
    toy.honours_range = False
    partial_file(cache).write_bytes(toy.files[FILE][:123_456])
    (path,) = assets.fetch(["clip"])
    assert path.read_bytes() == CLIP


def test_a_wrong_archive_is_refused_before_it_is_opened(toy, cache, monkeypatch):
    monkeypatch.setattr(store, "extract", lambda *_: pytest.fail("opened"))
    content = bytearray(toy.files[FILE])
    content[1000] ^= 1
    toy.files[FILE] = bytes(content)
    with pytest.raises(InputError) as caught:
        assets.fetch(["clip"])
    expected = assets.load_manifest()["clip"].source.sha256
    assert f"{FILE}: expected sha256 {expected}, found " in str(caught.value)
    assert not list(cache.rglob("*.whl*"))


def test_a_longer_file_under_the_same_name_is_refused(toy, cache):
    toy.files[FILE] += bytes(1_000_000)
    with pytest.raises(InputError, match="expected sha256"):
        assets.fetch(["clip"])
    assert len(toy.requests) == 1
    assert not list(cache.rglob("*.whl*"))


def test_a_line_that_always_breaks_is_the_machines_fault(toy, pauses):
    toy.break_after = [1000] * 10
    with pytest.raises(MachineError, match="goes on where it stopped"):
        assets.fetch(["clip"])
    assert pauses == [0.5, 1.0, 2.0]


def test_a_busy_server_is_asked_again_when_it_says(toy, pauses):
    toy.busy = [(429, {"Retry-After": "7"}), (503, {"Retry-After": "86400"}), (502, {})]
    (path,) = assets.fetch(["clip"])
    assert path.read_bytes() == CLIP
    assert pauses == [7.0, 60.0, 2.0]


def test_no_network(toy, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple/")
    with pytest.raises(MachineError, match="check the network") as caught:
        assets.fetch(["clip"])
    assert "secret" not in str(caught.value)
    assert "http://127.0.0.1:9/simple/" in str(caught.value)


def test_an_index_without_the_project_or_the_file(toy):
    del toy.files[FILE]
    with pytest.raises(InputError, match="has no toy; set PIP_INDEX_URL"):
        assets.fetch(["clip"])
    toy.files["toy-2.0.tar.gz"] = b""
    with pytest.raises(InputError, match=f"has no file {FILE}"):
        assets.fetch(["clip"])


@pytest.mark.parametrize(
    ("status", "error"), [(404, InputError), (429, MachineError), (503, MachineError)]
)
def test_a_server_that_refuses(toy, pauses, status, error):
    toy.status = status
    with pytest.raises(error, match=f"{FILE}.*{status}"):
        assets.fetch(["clip"])


def test_a_full_disk_is_one_line(toy, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "extract", full)
    with pytest.raises(MachineError, match=r"no space left.*DYNAMICRAFTER_CACHE"):
        assets.fetch(["clip"])


def test_a_cache_that_may_not_be_written_is_the_users_to_mend(toy, cache, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied", str(cache / "downloads"))

    monkeypatch.setattr(store, "extract", refused)
    with pytest.raises(InputError, match=rf"{cache}/downloads .*DYNAMICRAFTER_CACHE"):
        assets.fetch(["clip"])


def test_two_processes_download_once(toy):
    code = "from dynamicrafter import assets; print(assets.fetch(['clip'])[0])"
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    first, second = (Path(run.communicate(timeout=60)[0].strip()) for run in runs)
    assert first == second
    assert first.read_bytes() == CLIP
    assert len(toy.requests) == 1


def test_threads_share_a_download(toy):
    threads = [threading.Thread(target=assets.fetch, args=(["clip"],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert assets.verify(["clip"]) == {"clip": "whole"}
    assert len(toy.requests) == 1


def test_a_file_on_this_machine(tmp_path, cache, add_manifest, monkeypatch):
    add_manifest(CLIP, "weights.bin", {"w": {"data": CLIP}}, origin="file", path="$TOYS/w.bin")
    monkeypatch.setenv("TOYS", str(tmp_path))
    with pytest.raises(InputError, match=r"there is no file .*/w\.bin; put weights\.bin there"):
        assets.fetch(["w"])
    (tmp_path / "w.bin").write_bytes(CLIP)
    (path,) = assets.fetch(["w"])
    assert (path.name, path.read_bytes()) == ("w.bin", CLIP)
    assert (tmp_path / "w.bin").exists()


def test_a_file_on_this_machine_is_verified_too(tmp_path, cache, add_manifest):
    origin = {"origin": "file", "path": str(tmp_path / "w.bin")}
    add_manifest(CLIP, "weights.bin", {"w": {"data": CLIP}}, **origin)
    (tmp_path / "w.bin").write_bytes(b"other")
    with pytest.raises(InputError, match="expected sha256"):
        assets.fetch(["w"])
    assert (tmp_path / "w.bin").exists()


def test_pip_is_asked_in_pips_order(tmp_path, monkeypatch):
    for name in ("PIP_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text("[global]\nindex-url = https://user/%40\n")
    assert pip_setting("index-url") == "https://user/%40"
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "pip.conf").write_text("[global]\nindex-url = https://venv/\n")
    assert pip_setting("index-url") == "https://venv/"
    (tmp_path / "own.conf").write_text("[global]\nindex-url = https://own/\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "own.conf"))
    assert pip_setting("index-url") == "https://own/"
    monkeypatch.setenv("PIP_INDEX_URL", "https://environment/")
    assert pip_setting("index-url") == "https://environment/"
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert pip_setting("index-url") is None


def test_addresses_are_shown_without_credentials():
    assert without_credentials("https://u:p@host:1/x?token=1") == "https://host:1/x"


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("DYNAMICRAFTER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert assets.cache_folder() == tmp_path / "dynamicrafter"
    monkeypatch.setenv("DYNAMICRAFTER_CACHE", str(tmp_path / "own"))
    assert assets.cache_folder() == tmp_path / "own"


def test_looking_a_path_up_needs_no_network_library():
    code = (
        "import json, sys; import dynamicrafter.assets;"
        "print(json.dumps(sorted({'torch', 'requests', 'huggingface_hub'} & set(sys.modules))))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(answer.stdout) == []


@pytest.mark.network
def test_the_shipped_assets_are_what_their_index_serves():
    names = list(assets.load_manifest())
    assets.fetch(names)
    assert set(assets.verify(names).values()) == {"whole"}
