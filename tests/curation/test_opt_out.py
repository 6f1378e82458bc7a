"""Clips that are taken out leave nothing behind, and all others stay as they are."""

import itertools
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from curation.commands.opt_out import opt_out
from curation.passes.decide import decide
from curation.passes.gather import TABLE
from curation.passes.opted_out import read_ids
from curation.publish.opt_out import JOURNAL, remove_from_shards
from curation.tables import read_note, read_rows
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json, sha256_file
from dynamicrafter.shards import Sample, ShardReader, write_manifest, write_shards
from tests.curation import run_folders

COUNT = 9


def sample(i: int) -> Sample:
    info = {
        "fps": 24.0,
        "frames": 16 + i,
        "clip_id": f"Clip {i}",
        "videoid": f"v{i}",
        "video_id": f"film {i // 2}",
        "contentUrl": f"https://example.org/{i}",
        "name": f"a cätion, {i}",
    }
    return Sample(f"key-{i}", f"video {i} ".encode() * 300, f"moving {i}", info)


def shards(folder: Path, numbers) -> Path:
    """Three samples a shard, however many there are left of them."""
    chosen = [sample(i) for i in numbers]
    write_shards(folder, chosen, name="x", config_digest="c", shard_bytes=13_000)
    return folder


def keys_by_shard(folder: Path) -> list[list[str]]:
    reader = ShardReader(folder, verify=True)
    sizes = [shard["samples"] for shard in reader.manifest["shards"]]
    keys = iter(reader.keys)
    return [list(itertools.islice(keys, size)) for size in sizes]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("key-4", {4}),
        ("Clip 4", {4}),
        ("v4", {4}),
        ("film 2", {4, 5}),
        ("https://example.org/4", {4}),
        ("moving 4", set()),
        ("clip 4", set()),
    ],
)
def test_a_clip_goes_by_many_names(tmp_path, name, gone):
    folder = shards(tmp_path, range(COUNT))
    before = contents(folder)
    assert remove_from_shards(folder, frozenset([name])) == len(gone)
    keys = [key for keys in keys_by_shard(folder) for key in keys]
    assert keys == [f"key-{i}" for i in range(COUNT) if i not in gone]
    if not gone:
        assert contents(folder) == before


def test_the_others_keep_their_bytes_and_shards(tmp_path):
    folder = shards(tmp_path / "a", range(COUNT))
    assert [len(keys) for keys in keys_by_shard(folder)] == [3, 3, 3]
    before = contents(folder)
    samples = {s.key: s for s in ShardReader(folder)}
    ids = frozenset(["v1", "v3", "v4", "v5"])  # one of the first shard, all of the second
    assert remove_from_shards(folder, ids) == 4
    assert keys_by_shard(folder) == [["key-0", "key-2"], ["key-6", "key-7", "key-8"]]
    assert all(samples[s.key] == s for s in ShardReader(folder))
    after = contents(folder)
    assert sorted(before.keys() - after.keys()) == ["x-000001.index.parquet", "x-000001.tar"]
    assert after.keys() <= before.keys()
    assert after["x-000002.tar"] == before["x-000002.tar"]
    for text in (b"video 1 ", b"moving 4", b"film 2", b"Clip 3"):
        assert not any(text in data for data in after.values())
    # what is left of a shard is what would be written of its samples alone
    alone = shards(tmp_path / "b", [0, 2])
    for name in ("x-000000.tar", "x-000000.index.parquet"):
        assert after[name] == (alone / name).read_bytes()
    assert read_json(folder / "manifest.json")["config_digest"] == "c"
    assert remove_from_shards(folder, ids) == 0


def test_nothing_may_be_left(tmp_path):
    folder = shards(tmp_path, range(COUNT))
    assert remove_from_shards(folder, frozenset(f"v{i}" for i in range(COUNT))) == COUNT
    assert list(contents(folder)) == ["manifest.json"]
    assert len(ShardReader(folder)) == 0


def test_more_that_a_tar_holds_of_a_sample_goes_too(tmp_path):
    folder = shards(tmp_path, [0, 1])
    path = folder / "x-000000.tar"
    with tarfile.open(path, "a") as tar:
        tar.add(__file__, "key-1.png")
        tar.add(__file__, "key-0.png")
    manifest = read_json(folder / "manifest.json")
    entry = manifest["shards"][0] | {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    write_manifest(folder, [entry], "c")
    assert remove_from_shards(folder, frozenset(["v1"])) == 1
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["key-0.json", "key-0.mp4", "key-0.txt", "key-0.png"]
    assert keys_by_shard(folder) == [["key-0"]]


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_call_that_was_killed_anywhere_is_finished_by_the_same_call(tmp_path, monkeypatch):
    original = shards(tmp_path / "original", range(COUNT))
    ids = frozenset(["v1", "v3", "v4", "v5"])
    old = contents(original)
    shutil.copytree(original, tmp_path / "done")
    remove_from_shards(tmp_path / "done", ids)
    new = contents(tmp_path / "done")
    steps = 0
    for name in ("replace", "unlink"):
        genuine = getattr(os, name)

        def counted(*args, genuine=genuine, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return genuine(*args, **kwargs)

        monkeypatch.setattr(os, name, counted)
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: unlink(self, missing_ok))

    def unlink(path, missing_ok):
        if missing_ok and not path.exists():
            return
        os.unlink(path)

    for moment in itertools.count(1):
        folder = tmp_path / "killed"
        left = 0
        shutil.copytree(original, folder)
        left = moment
        try:
            remove_from_shards(folder, ids)
            break
        except Killed:
            steps += 1
        left = 0
        if (folder / "manifest.json").exists():  # a reader sees it whole, before or after
            assert len(ShardReader(folder, verify=True)) in (COUNT, COUNT - 4)
            known = {key: data for key, data in contents(folder).items() if key in old}
            assert known in (old, new)
        else:
            with pytest.raises(InputError, match="no shard folder, or not finished"):
                ShardReader(folder)
        remove_from_shards(folder, ids)
        assert contents(folder) == new, moment
        shutil.rmtree(folder)
    assert steps >= 8  # journal, manifest, a tar and an index, two that go, manifest, journal


def test_another_call_finishes_what_was_begun_and_does_its_own(tmp_path, monkeypatch):
    folder = shards(tmp_path, range(COUNT))
    import curation.publish.opt_out as module

    genuine = module.write_manifest
    monkeypatch.setattr(module, "write_manifest", lambda *args: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        remove_from_shards(folder, frozenset(["v1"]))
    assert (folder / JOURNAL).exists()
    monkeypatch.setattr(module, "write_manifest", genuine)
    assert remove_from_shards(folder, frozenset(["v8"])) == 2
    assert [i for i in range(COUNT) if f"key-{i}" not in ShardReader(folder).keys] == [1, 8]


@pytest.mark.parametrize("info", [{}, {"fps": "24", "frames": 3}, {"fps": 24, "frames": 2**40}])
def test_shards_that_could_not_be_indexed_again_are_left_alone(tmp_path, info):
    folder = shards(tmp_path, [0, 1])
    whole = contents(folder)
    data = json.dumps(sample(1).info, sort_keys=True, ensure_ascii=False).encode()
    new = json.dumps({**info, "pad": ""}).encode()
    new = json.dumps({**info, "pad": "x" * (len(data) - len(new))}).encode()
    path = folder / "x-000000.tar"
    path.write_bytes(path.read_bytes().replace(data, new))
    with pytest.raises(InputError, match="sample key-1 states no fps and frames"):
        remove_from_shards(folder, frozenset(["v0"]))
    assert contents(folder) == whole | {"x-000000.tar": path.read_bytes()}


def test_what_is_no_shard_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no shard folder, or not finished"):
        remove_from_shards(tmp_path, frozenset(["a"]))


# -- a run folder


def ids_file(tmp_path: Path, *ids: str) -> str:
    path = tmp_path / "ids.txt"
    path.write_text("# asked for by mail\n" + "\n".join(ids) + "\n", encoding="utf-8")
    return str(path)


def take_out(tmp_path: Path, run: Path | None, *ids: str, dataset: Path | None = None):
    given = {"ids": ids_file(tmp_path, *ids), "run": None, "dataset": None}
    given |= {"run": str(run)} if run else {}
    given |= {"dataset": str(dataset)} if dataset else {}
    return opt_out(OmegaConf.create(given))


def test_a_run_forgets_the_clips_and_only_them(tmp_path, capsys):
    run = run_folders.make_run(tmp_path / "run")
    passes = run_folders.add_passes(run)
    before = read_rows(run / TABLE)
    kept = [i for i, row in enumerate(run_folders.decisions(run)) if row["kept"]]
    video, other = before[kept[3]]["video_id"], before[kept[10]]
    url = json.loads(other["extra"])["contentUrl"]
    gone = {i for i, row in enumerate(before) if row["video_id"] == video} | {kept[10]}
    secret = "an unmistakable caption"
    (run / "notes.csv").write_text(f"key,remark\n{other['key']},{secret}\nclip-99999,stays\n")
    for name in ("DATASHEET.md", "croissant.json", "manifest.json"):
        (run / name).write_text("about them all")

    take_out(tmp_path, run, video, url)

    after = read_rows(run / TABLE)
    assert len(after) == len(before)
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if i not in gone:
            assert new == old
            continue
        names = {name: new[name] for name in ("key", "clip_id", "video_id", "source", "frames")}
        assert new == dict.fromkeys(old) | names | {"reason": "opted_out"}
        assert names["key"] == old["key"]
    assert read_note(run / TABLE, "digest") == "d" * 16  # or it would be gathered again
    assert read_note(run / TABLE, "content") != "c" * 64
    for i, row in enumerate(run_folders.decisions(run)):
        assert (row["reason"] == "opted_out") == (i in gone)
        assert not (row["kept"] and i in gone)
    # they are in no shard and no table
    keys = {before[i]["key"] for i in gone}
    left = [k for split in ("train", "test") for k in ShardReader(run / "dataset" / split).keys]
    assert sorted(left) == sorted(before[i]["key"] for i in kept if i not in gone)
    assert not any(key in (run / "dcp.csv").read_text() for key in keys)
    assert len((run / "dcp.csv").read_text().splitlines()) == 1 + len(left)
    assert (run / "notes.csv").read_text() == "key,remark\nclip-99999,stays\n"
    # of the passes only the files of their pieces and parts have gone
    pieces, parts = zip(*(run_folders.piece_of(i) for i in gone), strict=True)
    for path in passes:
        theirs = path.name.split("-")[0].split(".")[0] in {*pieces, *parts, "listing"}
        assert path.exists() is not theirs, path
    assert not any((run / name).exists() for name in ("DATASHEET.md", "croissant.json"))
    # the run remembers them, and its next decisions leave them out
    remembered = read_ids(run / "opt_out.txt")
    assert remembered == {video, url, other["clip_id"]}
    decide(run_folders.FILTERS, remembered, run)
    for i, row in enumerate(run_folders.decisions(run)):
        assert (row["reason"] == "opted_out") == (i in gone)
    said = capsys.readouterr().err
    assert said.startswith("opted out by 2 ids: ")
    assert f"{len(gone)} rows of measures.parquet" in said
    assert said.count("\n") == 1


def test_the_counts_of_a_run_fit_what_is_left(tmp_path):
    run = run_folders.make_run(tmp_path / "run")
    rows = run_folders.decisions(run)
    kept = next(row for row in rows if row["kept"])
    still = next(row for row in rows if row["reason"] == "still")
    dead = next(row for row in rows if row["reason"] == "not_video")
    before = read_json(run / "funnel.json")
    take_out(tmp_path, run, *(row["clip_id"] for row in (kept, still, dead)))
    after = read_json(run / "funnel.json")
    steps = {step["name"]: step["dropped"] for step in after["steps"]}
    was = {step["name"]: step["dropped"] for step in before["steps"]}
    changed = {"opted_out": 3, "still": was["still"] - 1, "unreadable": was["unreadable"] - 1}
    assert steps == was | changed
    assert all(a["out"] == b["in"] for a, b in itertools.pairwise(after["steps"]))
    split = kept["split"]
    assert after["kept"] == before["kept"] | {split: before["kept"][split] - 1}
    assert after["steps"][-1]["out"] == sum(after["kept"].values())
    summary = read_json(run / "summary.json")
    assert summary == read_json(run / "done.json")["summary"]
    assert summary["kept"] == after["kept"]
    assert summary["reasons"] == after["reasons"]
    reader = ShardReader(run / "dataset" / split)
    assert summary["dataset"][split]["root_digest"] == reader.digest
    assert summary["dataset"][split]["samples"] == len(reader) == after["kept"][split]
    # decide counts them alike
    decide(run_folders.FILTERS, read_ids(run / "opt_out.txt"), run)
    again = read_json(run / "funnel.json")
    assert {step["name"]: step["dropped"] for step in again["steps"]} == steps
    assert again["kept"] == after["kept"]


def test_an_opt_out_of_a_run_that_was_killed_is_finished_by_the_same_one(tmp_path, monkeypatch):
    import curation.commands.opt_out as module

    original = run_folders.make_run(tmp_path / "original", count=30)
    run_folders.add_passes(original)
    row = next(row for row in read_rows(original / TABLE) if row["key"] in kept_keys(original))
    url = json.loads(row["extra"])["contentUrl"]
    shutil.copytree(original, tmp_path / "done")
    take_out(tmp_path, tmp_path / "done", url)
    expected = contents(tmp_path / "done")
    for name in ("_without_lines", "_remove_files", "_clear_decisions", "_clear_measures"):
        for before in (True, False):
            run = tmp_path / f"{name}-{before}"
            shutil.copytree(original, run)
            genuine = getattr(module, name)

            def killed(*args, genuine=genuine, before=before):
                if not before:
                    genuine(*args)
                raise Killed

            with monkeypatch.context() as patch:
                patch.setattr(module, name, killed)
                with pytest.raises(Killed):
                    take_out(tmp_path, run, url)
            take_out(tmp_path, run, url)
            assert contents(run) == expected, name


def kept_keys(run: Path) -> set[str]:
    return {row["key"] for row in run_folders.decisions(run) if row["kept"]}


def test_a_shard_folder_alone(tmp_path, capsys):
    folder = shards(tmp_path / "shards", range(COUNT))
    assert take_out(tmp_path, None, "film 1", dataset=folder) == {f"samples in {folder}": 2}
    assert f"2 samples in {folder}" in capsys.readouterr().err
    take_out(tmp_path, None, "film 1", dataset=folder)
    assert "nothing was there" in capsys.readouterr().err


def test_what_cannot_be_done(tmp_path):
    with pytest.raises(InputError, match=r"run=.* it is no run folder of `curate`"):
        take_out(tmp_path, tmp_path, "a")
    with pytest.raises(InputError, match="say where from"):
        take_out(tmp_path, None, "a")
    with pytest.raises(InputError, match="names no clip"):
        take_out(tmp_path, None)
    with pytest.raises(InputError, match="cannot be read"):
        opt_out(OmegaConf.create({"ids": str(tmp_path / "no.txt"), "run": "x", "dataset": None}))
