"""From a config to clips: several data sets, balanced categories, a store, and what cannot be."""

import shutil
from collections import Counter

import fsspec
import numpy as np
import pytest
from omegaconf import OmegaConf

from dynamicrafter.errors import InputError
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.shards import Sample, ShardReader, stores, write_shards
from tests.train.conftest import moving_square
from train.data import ClipWindows, Positions, Window, batches, open_clips, stage_windows

WINDOW = Window(frames=4, strides=(1, 6))
SETTINGS = {
    "balance": None,
    "shuffle_shards": 2,
    "cache": {"folder": None, "gigabytes": 0.001},
    "keep_decoded": 0,
    "verify_data": False,
    "model": {"resolution": [16, 16], "frames": 4},
    "seed": 3,
    "recipe": {
        "context": {"model": {"frames": 1}, "frame_stride": [1, 1]},
        "joint": {"model": {}, "frame_stride": [1, 6]},
    },
}


def config_of(data, **changes):
    return OmegaConf.create({**SETTINGS, "data": data, **changes})


def windows_of(data, window=WINDOW, stream="joint", **changes):
    return ClipWindows(open_clips(config_of(data, **changes)), 3, stream, window)


def write(folder, counts, shard_bytes=15_000, frames=24):
    """Clips that cannot be decoded, `counts` of each category; a few to a shard."""
    made = [(category, number) for category, count in counts.items() for number in range(count)]
    order = np.random.default_rng(0).permutation(len(made))
    samples = []
    for place, (category, number) in enumerate(made[i] for i in order):
        info = {"fps": 24.0, "frames": frames if number else 8, "width": 8, "height": 8}
        info["dynamic_source_category"] = category
        samples.append(Sample(f"{place:05d}-{category}-{number}", bytes(900), "moves", info))
    write_shards(folder, samples, name="x", config_digest="t", shard_bytes=shard_bytes)
    return str(folder)


def places(windows, numbers):
    return [windows.locate(number) for number in numbers]


@pytest.fixture(scope="session")
def many_shards(tmp_path_factory):
    """Real clips in shards of two or three."""
    folder = tmp_path_factory.mktemp("many")
    info = {"fps": 24.0, "frames": 24, "width": 48, "height": 32}
    samples = [
        Sample(f"clip-{i:02d}", encode_mp4(moving_square(i), 24), f"square {i} moves", info)
        for i in range(12)
    ]
    write_shards(folder, samples, name="train", config_digest="test", shard_bytes=12_000)
    return folder


@pytest.mark.parametrize("gigabytes", [0, 0.00002, 1])
@pytest.mark.parametrize("weight", [None, 2.0])
def test_a_store_gives_what_the_folder_gives(
    many_shards, shards, tmp_path, monkeypatch, gigabytes, weight
):
    monkeypatch.setattr(stores, "BLOCK_BYTES", 2048)
    system = fsspec.filesystem("memory")
    system.put(f"{many_shards}/", "/mixed/many", recursive=True)
    other = {"path": str(shards), "weight": weight}
    remote = [{"path": "memory://mixed/many", "weight": weight and 1.0}, other]
    local = [{"path": str(many_shards), "weight": weight and 1.0}, other]
    cache = {"folder": str(tmp_path / "cache"), "gigabytes": gigabytes}
    try:
        ours, theirs = (windows_of(data, cache=cache, verify_data=True) for data in (local, remote))
        assert len(ShardReader(many_shards).manifest["shards"]) > 3
        taken = sum(path.stat().st_size for path in many_shards.iterdir())
        assert taken > 0.00002 * 1e9  # the cache is smaller than the data
        for number in range(30):
            one, two = ours[number], theirs[number]
            assert one["key"] == two["key"]
            assert np.array_equal(one["frames"], two["frames"])
    finally:
        system.rm("/mixed", recursive=True)


@pytest.mark.parametrize(
    ("ranks", "workers"),
    [(1, 0), (2, 0), (4, 0), (1, 1), (4, 2), pytest.param(4, 4, marks=pytest.mark.slow)],
    ids=lambda value: str(value),
)
def test_ranks_and_workers_see_one_order(many_shards, shards, tmp_path, ranks, workers):
    place = f"file://{many_shards}" if workers == 1 else str(many_shards)
    cache = {"folder": str(tmp_path), "gigabytes": 0.00002}
    windows = windows_of([place, str(shards)], cache=cache)
    share = 8 // ranks
    for rank in range(ranks - 1 if workers else 0, ranks):  # processes take their time to start
        microbatches = batches(windows, Positions(1, 3, 8, rank, ranks, 2), workers)
        keys = [key for batch in microbatches for key in batch.keys]
        for step in (1, 2):
            first = step * 8 + rank * share
            whole = [windows.locate(number).key for number in range(first, first + share)]
            assert keys[(step - 1) * share : step * share] == whole


def test_weights_are_shares_and_without_weights_every_clip_counts(tmp_path):
    a, b = write(tmp_path / "a", {"dog": 30}), write(tmp_path / "b", {"cat": 90})
    seen = Counter(
        place.data.name
        for place in places(
            windows_of([{"path": a, "weight": 0.8}, {"path": b, "weight": 0.2}]), range(10_000)
        )
    )
    assert seen[f"data/{a}"] / 10_000 == pytest.approx(0.8, rel=0.002)
    # 29 and 89 clips are longer than 8 frames
    windows = windows_of([a, b], Window(16, (1, 1)))
    assert windows.selection.clips == 118
    seen = Counter(place.key for place in places(windows, range(118 * 20)))
    assert len(seen) == 118
    assert set(seen.values()) <= {19, 20, 21}


@pytest.mark.parametrize(
    ("power", "shares"),
    [(1.0, (0.8, 0.16, 0.04)), (0.0, (1 / 3, 1 / 3, 1 / 3)), (0.5, None)],
)
def test_categories_are_balanced(tmp_path, power, shares):
    counts = {"dog": 100, "cat": 20, "none": 5}
    folder = write(tmp_path / "a", counts)
    windows = windows_of(folder, balance={"column": "dynamic_source_category", "power": power})
    found = places(windows, range(10_000))
    seen = Counter(place.category for place in found)
    roots = np.sqrt([100, 20, 5])
    for category, share in zip(counts, shares or roots / roots.sum(), strict=True):
        assert seen[category] / 10_000 == pytest.approx(share, rel=0.01)
    keys = Counter(place.key for place in found if place.category == "cat")
    assert len(keys) == 20
    assert max(keys.values()) - min(keys.values()) <= 1
    assert all(f"-{place.category}-" in place.key for place in found)


def test_short_clips_are_left_out_also_of_a_balanced_set(tmp_path):
    folder = write(tmp_path / "a", {"dog": 40, "cat": 1, "cow": 6})
    balance = {"column": "dynamic_source_category", "power": 0.0}
    for frames, usable, categories in [(8, 47, {"dog", "cat", "cow"}), (9, 44, {"dog", "cow"})]:
        windows = windows_of(folder, Window(frames, (1, 1)), balance=balance)
        assert windows.selection.clips == usable
        found = places(windows, range(400))
        assert {place.category for place in found} == categories
        assert all(place.clip_frames >= frames for place in found)
        assert len({place.key for place in found}) == usable


def test_stages_draw_apart_and_see_their_own_windows(shards):
    config = config_of(str(shards))
    clips = open_clips(config)
    context, joint = (stage_windows(clips, config, stage) for stage in ("context", "joint"))
    assert (context.window, joint.window) == (Window(1, (1, 1)), WINDOW)
    assert [p.key for p in places(context, range(10))] != [p.key for p in places(joint, range(10))]
    assert [len(p.indices) for p in (context.locate(0), joint.locate(0))] == [1, 4]


def test_digests_are_named_by_data_set(shards, many_shards):
    digests = {str(f): ShardReader(f).digest for f in (shards, many_shards)}
    assert open_clips(config_of(str(shards))).digests == {"data": digests[str(shards)]}
    assert open_clips(config_of({"path": str(shards)})).digests == {"data": digests[str(shards)]}
    assert open_clips(config_of([str(shards), str(many_shards)])).digests == {
        f"data/{path}": digest for path, digest in digests.items()
    }


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        ([], {}, r"name at least one data set"),
        (["a", "a"], {}, r"data=a, a: name at least one data set, and each once"),
        ([{"path": "a", "weight": 1}, "b"], {}, r"every data set a weight, or none"),
        ([{"path": "a", "weight": 0}, "b"], {}, r"weight of a is 0; it must be above 0"),
        ([{"path": "a", "weight": float("nan")}], {}, r"weight of a is nan"),
        ([{"folder": "a"}], {}, r"a data set is a path, or"),
        ([{"path": "a", "share": 1}], {}, r"a data set is a path, or"),
        ("a", {"balance": {"column": "camera", "power": 1}}, r"balance.column=camera; data can be"),
        ("S", {"balance": {"column": "dynamic_source_category", "power": 2}}, r"balance.power=2"),
        ("a", {"shuffle_shards": 0}, r"shuffle_shards=0; it must be at least 1"),
        ("a", {"cache": {"folder": None, "gigabytes": -1}}, r"cache.gigabytes=-1"),
        ("a", {}, r"a has no manifest\.json"),
        ("memory://nowhere", {}, r"memory://nowhere has no manifest\.json"),
    ],
)
def test_what_cannot_be_is_named(data, changes, message):
    with pytest.raises(InputError, match=message):
        open_clips(config_of(data, **changes))


def test_the_whole_data_is_hashed_where_that_is_asked_for(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "s")
    (tar,) = (tmp_path / "s").glob("*.tar")
    whole = bytearray(tar.read_bytes())
    whole[-1] ^= 1  # in the padding, of which no sample knows
    tar.write_bytes(whole)
    assert open_clips(config_of(str(tmp_path / "s")))
    with pytest.raises(InputError, match="does not match its sha256"):
        open_clips(config_of(str(tmp_path / "s"), verify_data=True))
