"""A remote store gives what the local folder gives, whatever its cache holds or cannot hold."""

import errno
import multiprocessing
import os
import pickle

import fsspec
import numpy as np
import pytest

from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.shards import BlockCache, Sample, ShardReader, stores, write_shards

URL = "memory://bucket/train"
SHARD = "train-000001.tar"


def samples(count=24):
    chance = np.random.default_rng(0)
    return [
        Sample(f"clip-{i:03d}", chance.bytes(3000 + i), f"text {i}", {"fps": 24.0, "frames": 40})
        for i in range(count)
    ]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(stores, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(stores.time, "sleep", lambda seconds: None)


@pytest.fixture
def folder(tmp_path):
    write_shards(tmp_path / "local", samples(), name="train", config_digest="c", shard_bytes=40_000)
    return tmp_path / "local"


@pytest.fixture
def store(folder):
    """The memory file system, holding a copy of the folder."""
    system = fsspec.filesystem("memory")
    system.put(f"{folder}/", "/bucket/train", recursive=True)
    yield system
    system.rm("/bucket", recursive=True)


def cache_of(tmp_path, limit=10**9):
    return BlockCache(tmp_path / "cache", limit)


def bytes_in(folder):
    return sum(path.stat().st_size for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("limit", [0, 5_000, 20_000, 10**9])
def test_the_same_samples_within_any_bound(store, folder, tmp_path, limit):
    cache = cache_of(tmp_path, limit)
    reader = ShardReader(URL, verify=True, cache=cache)
    assert len(reader.manifest["shards"]) == 3
    for i in np.random.default_rng(1).permutation(48) % 24:
        assert reader[int(i)] == samples()[i]
        assert not cache.folder.exists() or bytes_in(cache.folder) <= limit
    local = ShardReader(folder)
    assert (reader.keys, reader.digest) == (local.keys, local.digest)


def test_what_is_cached_is_fetched_once(store, tmp_path, monkeypatch):
    fetched = []
    genuine = type(store).cat_file

    def counted(self, path, start=None, end=None):
        fetched.append((path, start))
        return genuine(self, path, start, end)

    monkeypatch.setattr(type(store), "cat_file", counted)
    for _ in range(2):
        reader = pickle.loads(pickle.dumps(ShardReader(URL, cache=cache_of(tmp_path))))
        assert [reader[i] for i in range(24)] == samples()
    blocks = [place for place in fetched if place[1] is not None]
    assert len(blocks) == len(set(blocks)) > 24


def test_the_least_recently_used_block_goes_first(tmp_path):
    cache = cache_of(tmp_path, 3000)
    for second, name in enumerate("abc"):
        cache.put(name, name.encode() * 1000)
        os.utime(cache.folder / name, (second, second))
    assert cache.get("a") == b"a" * 1000  # now it is the last that was used
    cache.put("d", b"d" * 1000)
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]
    cache.put("e", b"e" * 3001)  # more than fits
    assert [name for name in "acde" if cache.get(name)] == ["a", "c", "d"]


def test_a_cache_outlives_a_killed_process_and_a_lost_count(tmp_path):
    cache = cache_of(tmp_path, 3000)
    cache.put("a", bytes(1000))
    (cache.folder / "b.partial").write_bytes(bytes(900))
    (cache.folder / ".used").write_text("")
    cache.put("c", bytes(1000))
    assert not (cache.folder / "b.partial").exists()
    cache.put("d", bytes(1000))
    assert [name for name in "acd" if cache.get(name)] == ["a", "c", "d"]
    cache.put("e", bytes(1000))
    assert bytes_in(cache.folder) == 3000


def put_many(argument):
    folder, start = argument
    cache, most = BlockCache(folder, 10_000), 0
    for i in range(start, start + 40):
        cache.put(str(i % 60), bytes([i % 60]) * 1000)
        block = cache.get(str(i % 60))
        assert block in (None, bytes([i % 60]) * 1000)
        most = max(most, bytes_in_if_there(folder))
    return most


def bytes_in_if_there(folder):
    sizes = []
    for path in folder.iterdir():
        try:
            sizes.append(0 if path.name.startswith(".") else path.stat().st_size)
        except FileNotFoundError:
            continue
    return sum(sizes)


def test_several_processes_share_a_cache_and_its_bound(tmp_path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        most = pool.map(put_many, [(tmp_path / "cache", start) for start in (0, 20, 40)])
    # listing is not one moment: what was removed and what came may both be counted
    assert max(most) <= 13_000
    assert bytes_in(tmp_path / "cache") <= 10_000


def test_a_rotten_block_is_fetched_again(store, tmp_path):
    cache = cache_of(tmp_path)
    assert ShardReader(URL, cache=cache)[5] == samples()[5]
    for path in cache.folder.iterdir():
        if not path.name.startswith("."):
            path.write_bytes(bytes(path.stat().st_size))
    reader = ShardReader(URL, cache=cache)
    assert [reader[i] for i in range(24)] == samples()


def replace_by_another(store, name):
    whole = store.cat_file(f"/bucket/train/{name}")
    store.pipe_file(f"/bucket/train/{name}", whole[::-1])


def test_a_shard_replaced_by_another_is_refused_and_not_kept(store, tmp_path):
    whole = store.cat_file(f"/bucket/train/{SHARD}")
    replace_by_another(store, SHARD)
    reader = ShardReader(URL, cache=cache_of(tmp_path))
    with pytest.raises(InputError, match=rf"{URL}/{SHARD} does not hold clip-010\.json where"):
        reader[10]
    with pytest.raises(InputError, match=rf"{SHARD} does not match its sha256"):
        ShardReader(URL, verify=True, cache=cache_of(tmp_path))
    store.pipe_file(f"/bucket/train/{SHARD}", whole)
    assert reader[10] == samples()[10]


def test_an_index_replaced_by_another_is_refused(store, tmp_path):
    replace_by_another(store, "train-000001.index.parquet")
    reader = ShardReader(URL, cache=cache_of(tmp_path))
    assert reader[0] == samples()[0]
    with pytest.raises(InputError, match=r"train-000001\.index\.parquet was changed"):
        reader[10]


def test_a_new_shard_of_the_same_name_is_not_read_from_the_cache(store, tmp_path):
    cache = cache_of(tmp_path)
    assert ShardReader(URL, cache=cache)[0].text == "text 0"
    changed = [Sample(s.key, s.video, s.text.upper(), s.info) for s in samples()]
    write_shards(tmp_path / "new", changed, name="train", config_digest="c", shard_bytes=40_000)
    store.put(f"{tmp_path / 'new'}/", "/bucket/train", recursive=True)
    assert ShardReader(URL, cache=cache)[0].text == "TEXT 0"


def test_what_is_missing_or_cut_off_is_named(store, tmp_path):
    cache = cache_of(tmp_path)
    whole = store.cat_file(f"/bucket/train/{SHARD}")
    reader = ShardReader(URL, cache=cache)
    store.pipe_file(f"/bucket/train/{SHARD}", whole[:-20_000])
    with pytest.raises(InputError, match=rf"{SHARD} has \d+ bytes, the manifest says {len(whole)}"):
        ShardReader(URL, cache=cache)
    with pytest.raises(InputError, match=rf"{SHARD} does not hold clip-\d+\.mp4 where"):
        [reader[i] for i in range(24)]
    store.rm(f"/bucket/train/{SHARD}")
    with pytest.raises(InputError, match=rf"shard file {URL}/{SHARD} is missing"):
        ShardReader(URL, cache=cache)
    with pytest.raises(InputError, match=rf"shard file {URL}/{SHARD} is missing"):
        [reader[i] for i in range(24)]
    store.rm("/bucket/train/manifest.json")
    with pytest.raises(InputError, match="no shard folder, or not finished"):
        ShardReader(URL, cache=cache)


def test_a_store_that_fails_now_and_then_is_asked_again(store, tmp_path, monkeypatch):
    genuine, calls = type(store).cat_file, []

    def shaky(self, path, start=None, end=None):
        calls.append(path)
        if len(calls) % 3:
            raise ConnectionError("reset by peer")
        return genuine(self, path, start, end)

    monkeypatch.setattr(type(store), "cat_file", shaky)
    reader = ShardReader(URL, cache=cache_of(tmp_path))
    assert reader[3] == samples()[3]
    monkeypatch.setattr(type(store), "cat_file", lambda *args: 1 / 0)
    with pytest.raises(MachineError, match=rf"{URL} cannot be reached: division by zero; look at"):
        reader[23]


@pytest.mark.parametrize("url", ["nonsense://bucket/x", "s4://bucket"])
def test_an_address_that_means_nothing(url, tmp_path):
    with pytest.raises(InputError, match=rf"{url} cannot be opened by fsspec"):
        ShardReader(url, cache=cache_of(tmp_path))


def test_a_store_is_read_through_a_cache_only():
    with pytest.raises(InputError, match="is read through a cache"):
        ShardReader(URL)


def test_a_full_disk_and_a_folder_that_is_not_mine(store, tmp_path, monkeypatch):
    def full(self, name, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(BlockCache, "_write", full)
        with pytest.raises(MachineError, match=r"disk of the cache .*cache is full; free some"):
            ShardReader(URL, cache=cache_of(tmp_path))[0]
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"file/cache cannot be used: .*set cache\.folder"):
        ShardReader(URL, cache=BlockCache(tmp_path / "file/cache", 10**9))[0]


def test_a_mounted_folder_may_be_read_through_the_cache_too(folder, tmp_path):
    cache = cache_of(tmp_path)
    reader = ShardReader(f"file://{folder}", cache=cache)
    assert [reader[i] for i in range(24)] == samples()
    assert bytes_in(cache.folder) > 24 * 3000
