import json
import multiprocessing
import os
import pickle
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_file
from dynamicrafter.shards import (
    Sample,
    ShardReader,
    sample_key,
    write_manifest,
    write_shard,
    write_shards,
)
from dynamicrafter.shards import reader as reader_module
from dynamicrafter.shards.index import INDEX_SCHEMA
from dynamicrafter.shards.manifest import root_digest
from dynamicrafter.shards.sample import member_digest


def samples(count=7):
    return [
        Sample(f"clip-{i:03d}", bytes([i]) * (700 + i), f"a dog wags, ünïcode {i}",
               {"fps": 24.0 + i, "frames": 40 + i, "source": "test"})
        for i in range(count)
    ]  # fmt: skip


def write(folder, **changes):
    arguments = {"name": "train", "config_digest": "c0ffee", "shard_bytes": 8000} | changes
    return write_shards(folder, arguments.pop("samples", samples()), **arguments)


def read_one(argument):
    reader, i = argument
    return reader[i].text


def test_round_trip(tmp_path):
    manifest = write(tmp_path)
    reader = ShardReader(tmp_path, verify=True)
    assert len(manifest["shards"]) > 1
    assert [reader[i] for i in range(len(reader))] == samples()
    assert reader.keys == [sample.key for sample in samples()]
    assert reader.fps.tolist() == [24.0 + i for i in range(7)]
    assert reader.frames.tolist() == [40 + i for i in range(7)]
    assert reader[-1].key == "clip-006"
    with pytest.raises(IndexError):
        reader[7]


def test_equal_input_gives_equal_bytes(tmp_path):
    first, second = write(tmp_path / "a"), write(tmp_path / "elsewhere")
    assert first == second
    for path in sorted((tmp_path / "a").iterdir()):
        assert sha256_file(path) == sha256_file(tmp_path / "elsewhere" / path.name)
    assert write(tmp_path / "b", config_digest="other")["root_digest"] != first["root_digest"]


def test_tar_headers_are_constant(tmp_path):
    write(tmp_path)
    with tarfile.open(tmp_path / "train-000000.tar") as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o444)
    }
    assert [m.name for m in members] == sorted(m.name for m in members)


def test_stock_webdataset_reads_the_same(tmp_path):
    manifest = write(tmp_path)
    urls = [str(tmp_path / shard["file"]) for shard in manifest["shards"]]
    read = [
        Sample(raw["__key__"], raw["mp4"], raw["txt"].decode(), json.loads(raw["json"]))
        for raw in webdataset.WebDataset(urls, shardshuffle=False)
    ]
    assert read == samples()


def test_works_in_other_processes_and_after_pickling(tmp_path):
    write(tmp_path)
    reader = ShardReader(tmp_path)
    assert pickle.loads(pickle.dumps(reader))[3] == samples()[3]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        texts = pool.map(read_one, [(reader, i) for i in range(7)])
    assert texts == [sample.text for sample in samples()]


def test_an_empty_folder_of_shards(tmp_path):
    write(tmp_path, samples=[])
    assert len(ShardReader(tmp_path)) == 0


def test_an_empty_shard(tmp_path):
    write_manifest(tmp_path, [write_shard(tmp_path / "a.tar", [])], "c0ffee")
    reader = ShardReader(tmp_path, verify=True)
    assert (len(reader), reader.keys, reader.frames.tolist()) == (0, [], [])


def test_a_shorter_rewrite_leaves_no_old_shard(tmp_path):
    write(tmp_path)
    write(tmp_path, samples=samples(1))
    assert [path.name for path in tmp_path.glob("*.tar")] == ["train-000000.tar"]
    assert len(ShardReader(tmp_path)) == 1


def test_an_interrupted_rewrite_is_no_shard_folder(tmp_path):
    write(tmp_path)

    def broken():
        yield samples()[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, samples=broken())
    with pytest.raises(InputError, match="not finished"):
        ShardReader(tmp_path)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("damage", ["cut", "missing", "no_index", "cut_index", "manifest"])
def test_damage_is_named(tmp_path, damage):
    write(tmp_path)
    tar = tmp_path / "train-000001.tar"
    index = tmp_path / "train-000001.index.parquet"
    named = "train-000001"
    match damage:
        case "cut":
            tar.write_bytes(tar.read_bytes()[:-512])
        case "missing":
            tar.unlink()
        case "no_index":
            index.unlink()
        case "cut_index":
            index.write_bytes(index.read_bytes()[:-1])
        case "manifest":
            path, named = tmp_path / "manifest.json", "manifest.json"
            path.write_text(path.read_text().replace("c0ffee", "decaff"))
    with pytest.raises(InputError, match=named):
        ShardReader(tmp_path)


def test_a_replaced_shard_of_equal_size(tmp_path):
    write(tmp_path / "a", shard_bytes=10**6)
    changed = [Sample(s.key, s.video, s.text.upper(), s.info) for s in samples()]
    write(tmp_path / "b", samples=changed, shard_bytes=10**6)
    reader = ShardReader(tmp_path / "a")
    (tmp_path / "a/train-000000.tar").write_bytes((tmp_path / "b/train-000000.tar").read_bytes())
    with pytest.raises(InputError, match=r"train-000000\.tar does not hold clip-000\.txt"):
        reader[0]
    with pytest.raises(InputError, match="sha256"):
        ShardReader(tmp_path / "a", verify=True)
    (tmp_path / "a/train-000000.tar").unlink()
    with pytest.raises(InputError, match="missing"):
        reader[0]


def seal(folder, manifest):
    """Make a changed manifest agree with its root digest and its index, as an attacker would."""
    for shard in manifest["shards"]:
        index = folder / shard["file"].replace(".tar", ".index.parquet")
        if index.is_file():
            shard |= {"index_sha256": sha256_file(index), "index_bytes": index.stat().st_size}
    manifest["root_digest"] = root_digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_shard_outside_the_folder(tmp_path):
    manifest = write(tmp_path / "secret", shard_bytes=10**6)
    (tmp_path / "given").mkdir()
    manifest["shards"][0]["file"] = "../secret/train-000000.tar"
    seal(tmp_path / "given", manifest)
    with pytest.raises(InputError, match=r"'\.\./secret/train-000000\.tar' is no file name"):
        ShardReader(tmp_path / "given")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("key", "../../outside", "is no key"),
        ("key", "a/b", "is no key"),
        ("key", "clip-000\n", "is no key"),
        ("key", None, "is no key"),
        ("offset", -512, "does not fit"),
        ("offset", 2**62, "does not fit"),
        ("size", -1, "does not fit"),
        ("size", 2**62, "does not fit"),
        ("digest", None, "does not fit"),
        ("frames", 1, "does not fit"),
        ("category", "other", "does not fit"),
        ("category", None, "cannot be read|does not fit"),
    ],
)
def test_a_hostile_index_is_refused(tmp_path, column, value, message):
    manifest = write(tmp_path, shard_bytes=10**6)
    path = tmp_path / "train-000000.index.parquet"
    rows = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), path)
    seal(tmp_path, manifest)
    assert ShardReader(tmp_path).entry(6).key == "clip-006"  # as forged, but unchanged
    for row in rows[:3]:
        row[column] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), path)
    seal(tmp_path, manifest)
    with pytest.raises(InputError, match=message):
        ShardReader(tmp_path)[0]


def test_an_index_that_is_none(tmp_path):
    manifest = write(tmp_path)
    (tmp_path / "train-000000.index.parquet").write_bytes(b"PAR1 no table PAR1")
    seal(tmp_path, manifest)
    with pytest.raises(InputError, match=r"train-000000\.index\.parquet cannot be read"):
        ShardReader(tmp_path)[0]


def test_the_index_of_another_shard(tmp_path):
    write(tmp_path / "a", shard_bytes=10**6)
    changed = [Sample(s.key, s.video, s.text.upper(), s.info) for s in samples()]
    write(tmp_path / "b", samples=changed, shard_bytes=10**6)
    name = "train-000000.index.parquet"
    reader = ShardReader(tmp_path / "a")
    (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(InputError, match=r"train-000000\.index\.parquet was changed"):
        reader[0]


@pytest.mark.parametrize(
    "name", ["format", "config_digest", "shards", "root_digest", "file", "samples", "categories"]
)
@pytest.mark.parametrize("damage", ["absent", "other type"])
def test_a_manifest_without_its_keys(tmp_path, name, damage):
    manifest = write(tmp_path)
    part = manifest if name in manifest and name != "samples" else manifest["shards"][0]
    if damage == "absent":
        del part[name]
    else:
        part[name] = None
    if {"format", "config_digest", "shards", "root_digest"} <= manifest.keys():
        manifest["root_digest"] = root_digest(manifest) if manifest["root_digest"] else None
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=f"lacks a proper {name}"):
        ShardReader(tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"samples": 8}, "do not add up"),
        ({"categories": {"none": -1, "dog": 8}}, "do not add up"),
        ({"categories": {"none": "7"}}, "do not add up"),
        ({"sha256": "../../x"}, "is no SHA-256"),
    ],
)
def test_a_hostile_manifest_is_refused(tmp_path, changes, named):
    manifest = write(tmp_path, shard_bytes=10**6)
    manifest["shards"][0] |= changes
    seal(tmp_path, manifest)
    with pytest.raises(InputError, match=named):
        ShardReader(tmp_path)


def test_a_folder_of_the_former_format_is_to_be_packed_again(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(write(tmp_path) | {"format": 1}))
    with pytest.raises(InputError, match=r"format 1, this version reads 2: pack the clips again"):
        ShardReader(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"a dog wags", b"a dog \xffags"),
        (b'{"fps"', b'["fps"'),
        (b'"source": "test"', b'"source": "tes\xff"'),
    ],
)
def test_a_sample_whose_texts_are_none(tmp_path, old, new):
    manifest = write(tmp_path, shard_bytes=10**6)
    path = tmp_path / "train-000000.tar"
    forged = path.read_bytes().replace(old, new, 1)
    path.write_bytes(forged)
    index = tmp_path / "train-000000.index.parquet"
    rows = pq.read_table(index).to_pylist()
    for row in rows:
        row["digest"] = member_digest(forged[row["offset"] : row["offset"] + row["size"]])
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), index)
    seal(tmp_path, manifest)
    reader = ShardReader(tmp_path)
    with pytest.raises(InputError, match=r"train-000000\.tar: sample clip-000 cannot be read"):
        reader[0]
    assert reader[1] == samples()[1]


def test_a_digest_is_the_beginning_of_a_sha256():
    # printf abc | sha256sum: ba7816bf8f01cfea…
    assert member_digest(b"abc") == int.from_bytes(
        bytes.fromhex("ba7816bf8f01cfea"), "little", signed=True
    )


def test_the_manifest_knows_lengths_and_categories(tmp_path):
    stated = ["dog", None, "dog", 3, "", "cat", "dog"]
    made = [
        Sample(s.key, s.video, s.text, s.info | {"dynamic_source_category": name})
        for s, name in zip(samples(), stated, strict=True)
    ]
    manifest = write(tmp_path, samples=made, shard_bytes=10**6)
    (entry,) = manifest["shards"]
    assert entry["categories"] == {"dog": 3, "none": 3, "cat": 1}
    assert entry["shortest"] == 40
    index = ShardReader(tmp_path).index(0)
    assert index.rows(frames=0, category="none").tolist() == [1, 3, 4]
    assert index.rows(frames=42).tolist() == [2, 3, 4, 5, 6]
    assert index.rows(frames=42, category="dog").tolist() == [2, 6]
    assert index.rows(frames=0, category="horse").tolist() == []
    assert index.categories(index.rows(frames=42)) == {"dog": 2, "none": 2, "cat": 1}


def test_opening_reads_no_index_and_few_are_kept(tmp_path, monkeypatch):
    manifest = write(tmp_path)
    monkeypatch.setattr(reader_module, "KEPT_SAMPLES", 4)
    read = []
    genuine = reader_module.parse_index
    monkeypatch.setattr(
        reader_module, "parse_index", lambda *args: read.append(1) or genuine(*args)
    )
    reader = ShardReader(tmp_path)
    assert not read
    assert [shard["samples"] for shard in manifest["shards"]] == [3, 3, 1]
    for _ in range(2):
        assert [reader.entry(i).key for i in (0, 1, 0)] == ["clip-000", "clip-001", "clip-000"]
    assert len(read) == 1
    assert [reader.entry(i).frames for i in range(7)] == list(range(40, 47))
    assert len(read) == 3
    assert reader.entry(0).key == "clip-000"  # the first was given up for the second
    assert len(read) == 4


@pytest.mark.parametrize(("keys", "message"), [
    (["b", "a"], "ascending"), (["a", "a"], "ascending"), (["a.b"], "must match"),
    (["A"], "must match"), (["a" * 81], "must match"),
])  # fmt: skip
def test_bad_keys_are_refused(tmp_path, keys, message):
    made = [Sample(key, b"", "", {"fps": 1.0, "frames": 1}) for key in keys]
    with pytest.raises(InputError, match=message):
        write(tmp_path, samples=made)


def test_sample_keys():
    assert sample_key("000001_000050_1234") == "000001_000050_1234"
    assert sample_key("abc", (1.5, 3.25)) == "abc-1500-3250"
    # printf 'My Clip.mp4' | sha256sum
    assert sample_key("My Clip.mp4") == "my-clip-mp4-a0767634"
    long = sample_key("x" * 80, (0.0, 12.0))
    assert len(long) == 80
    assert long.endswith("-0-12000")
    assert sample_key("x" * 200) != sample_key("x" * 201)
    assert sample_key("動画").isascii()
    with pytest.raises(InputError, match="not UTF-8"):
        sample_key(os.fsdecode(b"caf\xe9.mp4"))
