"""`dynamicrafter eval` on small folders: what is compared, refused, absent, cached and written."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from dynamicrafter import assets, runs
from dynamicrafter.errors import InputError
from dynamicrafter.features.dreamsim import ADAPTERS, CODE, WEIGHTS
from dynamicrafter.files import read_json
from dynamicrafter.media import motion as optical_flow
from dynamicrafter.media.motion import measure_motion
from dynamicrafter.shards import ShardReader
from eval import pipeline, results
from eval.protocols import protocol
from eval.windows import by_hash, shard_windows
from tests.eval.conftest import colours
from tests.report_folders import make_animate, make_curate, moving_square, mp4

CLIPS = 18  # 12 to train on, 6 held out
HELD_OUT = [f"clip-{index:03d}" for index in range(2, CLIPS, 3)]


def config_for(root: Path, *overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(
            "eval",
            [
                f"reference={root}/curate/dataset/test",
                f"second_reference={root}/curate/dataset/train",
                f"generated={root}/animate",
                f"run_dir={root}/eval",
                "tracking=disabled",
                *overrides,
            ],
        )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    captions = [(f"stock {i}", f"A square moves, take {i}.") for i in range(CLIPS)]
    make_curate(root / "curate", captions, frames=46)
    make_animate(root / "animate", [new for _, new in captions[2::3]])
    return root


def by_metric(folder: Path) -> dict[str, results.Row]:
    return {row.metric: row for row in results.read(folder).rows}


def test_fvd_and_kvd_of_the_windows_agree_with_a_second_implementation(
    folders, tmp_path, pixels_as_network
):
    config = config_for(folders, f"features={tmp_path}/features")
    pipeline.run(config, tmp_path)

    chosen = protocol(config.protocol)
    held_out = ShardReader(config.reference)
    others = ShardReader(config.second_reference)
    real = [w.read() for w in shard_windows(held_out, HELD_OUT, chosen)[0]]
    other = [w.read() for w in shard_windows(others, by_hash(others.keys)[:6], chosen)[0]]
    x, z = colours(np.stack(real)).astype(float), colours(np.stack(other)).astype(float)

    gap = x.mean(0) - z.mean(0)
    a, b = np.cov(x.T), np.cov(z.T)
    # tr sqrt(A B) by the eigenvalues of A^(1/2) B A^(1/2)
    root = scipy.linalg.sqrtm(a + 1e-12 * np.eye(len(a))).real
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ b @ root), 0, None)).sum()
    fvd = gap @ gap + np.trace(a) + np.trace(b) - 2 * cross
    kernel = lambda p, q: (p @ q.T / p.shape[1] + 1) ** 3  # noqa: E731
    off = ~np.eye(6, dtype=bool)
    kvd = kernel(x, x)[off].mean() + kernel(z, z)[off].mean() - 2 * kernel(x, z).mean()

    rows = by_metric(tmp_path)
    assert rows["fvd_real"].value == pytest.approx(fvd, rel=1e-4)
    assert rows["kvd_real"].value == pytest.approx(kvd, rel=1e-6)
    assert rows["fvd_real"].count == {"real": 6, "other real": 6}
    assert rows["fvd"].count == {"generated": 6, "real": 6}
    assert not rows["fvd"].reliable
    assert rows["fvd"].reason.startswith("6 samples of 12 features: the covariance is singular")
    assert rows["fvd"].interval is None
    assert rows["kvd"].interval is None
    assert "too few for an interval" in rows["kvd"].reason


def test_with_samples_enough_fvd_also_comes_without_its_bias(tmp_path, pixels_as_network):
    captions = [(f"stock {i}", f"A square moves, take {i}.") for i in range(66)]
    make_curate(tmp_path / "curate", captions, frames=46)
    make_animate(tmp_path / "animate", [new for _, new in captions[2::3]])
    pipeline.run(config_for(tmp_path, "pairs=0"), tmp_path)
    rows = by_metric(tmp_path)
    low, high = rows["fvd"].interval
    assert low < rows["fvd"].value < high
    corrected = rows["fvd_real_corrected"]
    assert corrected.value < rows["fvd_real"].value  # the bias is upwards
    assert corrected.interval[0] < corrected.value < corrected.interval[1]


def test_the_window_starts_at_the_first_frame_with_the_protocols_stride(folders):
    chosen = protocol(config_for(folders).protocol)
    reader = ShardReader(folders / "curate" / "dataset" / "test")
    (window,), short = shard_windows(reader, ["clip-002"], chosen)
    expected = moving_square(2, 46)[::3]  # 16 frames
    assert short == []
    assert window.fps == 8.0
    assert np.abs(window.read().astype(int) - expected).mean() < 4  # H.264 is lossy


def test_features_are_cached_by_content(folders, tmp_path, pixels_as_network):
    config = config_for(folders, f"features={tmp_path}/features", "batch=4")
    pipeline.run(config, tmp_path / "a")
    assert pixels_as_network == [4, 2, 4, 2, 4, 2]
    pipeline.run(config, tmp_path / "b")
    assert len(pixels_as_network) == 6
    names = ("results.json", "results.md")
    assert all(
        (tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names
    )


def test_windows_for_the_page_are_encoded_once(folders, tmp_path, pixels_as_network, monkeypatch):
    config = config_for(folders, f"features={tmp_path}/features", "pairs=2")
    pipeline.run(config, tmp_path / "a")
    monkeypatch.setattr("dynamicrafter.media.encode.encode_mp4", lambda *_: pytest.fail("encoded"))
    pipeline.run(config, tmp_path / "b")
    shown = [results.read(tmp_path / run).pairs for run in "ab"]
    assert shown[0] == shown[1]
    real = [(tmp_path / run / shown[0][0].real).read_bytes() for run in "ab"]
    assert real[0] == real[1]
    assert real[0][4:8] == b"ftyp"


def test_motion_is_measured_again_once_its_module_has_changed(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAMICRAFTER_CACHE", str(tmp_path / "empty"))
    seen: list[float] = []

    def counting(frames: np.ndarray, fps: float) -> optical_flow.Motion:
        seen.append(fps)
        return measure_motion(frames, fps)

    monkeypatch.setattr(optical_flow, "measure_motion", counting)
    config = config_for(folders, f"features={tmp_path}/features")
    for expected in (12, 12):  # 6 generated and 6 real, then from the cache
        pipeline.run(config, tmp_path)
        assert len(seen) == expected
    text = Path(optical_flow.__file__).read_text()
    changed = tmp_path / "motion.py"
    changed.write_text(text.replace("SHORT_SIDE = 128", "SHORT_SIDE = 96"))
    monkeypatch.setattr(optical_flow, "__file__", str(changed))
    pipeline.run(config, tmp_path)
    assert len(seen) == 24


def test_the_dreamsim_digest_is_that_of_what_is_read(folders, tmp_path):
    for name in (*WEIGHTS, ADAPTERS[0], CODE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"content of {name}")
    config = config_for(folders, f"dreamsim={tmp_path}")
    before = pipeline.inputs(config)["dreamsim"]
    (tmp_path / "trusted_list").write_text("facebookresearch_dino\n")
    assert pipeline.inputs(config)["dreamsim"] == before
    digests = {before}
    for name in (*WEIGHTS, ADAPTERS[0], CODE):
        (tmp_path / name).write_text(f"CONTENT of {name}")  # as long as before
        digests.add(pipeline.inputs(config)["dreamsim"])
    assert len(digests) == 1 + len(WEIGHTS) + 2
    (tmp_path / WEIGHTS[0]).unlink()
    assert pipeline.inputs(config)["dreamsim"] == "absent"


def test_the_device_does_not_change_the_result(folders):
    plain = [
        OmegaConf.to_container(config_for(folders, f"device={name}"), resolve=True)
        for name in ("cpu", "cuda")
    ]
    assert runs.digest(plain[0], {}) == runs.digest(plain[1], {})


def test_absent_weights_leave_rows_with_the_reason(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAMICRAFTER_CACHE", str(tmp_path / "empty"))
    config = config_for(folders, f"features={tmp_path}/features", f"dreamsim={tmp_path}/none")
    assert pipeline.inputs(config)["distances"] == "absent"
    pipeline.run(config, tmp_path)
    rows = by_metric(tmp_path)
    for metric in ("fvd", "fvd_real", "kvd", "kvd_real", "pic", "clip_sim"):
        assert rows[metric].value is None
        assert not rows[metric].reliable
    assert "dynamicrafter assets fetch i3d-kinetics-400" in rows["fvd"].reason
    assert "dino_vitb16_pretrain.pth" in rows["pic"].reason
    assert "clip=FILE" in rows["clip_sim"].reason
    table = (tmp_path / "results.md").read_text()
    assert "| PIC, likeness to the input image | — | — | 6 generated |" in table
    assert "Protocol `demo`" in table


def test_a_still_video_shows_in_the_motion(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAMICRAFTER_CACHE", str(tmp_path / "empty"))
    animate = tmp_path / "animate"
    make_animate(animate, [f"take {i}" for i in range(len(HELD_OUT))])
    for path in (animate / "videos").iterdir():
        path.write_bytes(mp4(np.repeat(moving_square(int(path.stem[5:]), 1), 16, axis=0), 8))
    config = config_for(folders, f"features={tmp_path}/features", f"generated={animate}")
    pipeline.run(config, tmp_path)
    rows = by_metric(tmp_path)
    assert rows["motion_generated"].value < 0.1 * rows["motion_real"].value
    assert rows["motion_real"].reliable


def test_pairs_are_kept_for_the_report(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAMICRAFTER_CACHE", str(tmp_path / "empty"))
    pipeline.run(config_for(folders, f"features={tmp_path}/f", "pairs=2"), tmp_path)
    found = results.read(tmp_path)
    protocol_of, pairs = found.protocol, found.pairs
    assert [pair.key for pair in pairs[:2]] == HELD_OUT[:2]
    assert {"lowest motion", "highest motion"} <= {pair.why for pair in pairs}
    assert (tmp_path / pairs[0].real).is_file()
    source = folders / "animate" / "videos" / "clip-002.mp4"
    assert (tmp_path / pairs[0].generated).read_bytes() == source.read_bytes()
    assert protocol_of["name"] == "demo"
    assert read_json(tmp_path / "results.json")["protocol"]["digest"] == protocol_of["digest"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["protocol=dynamicrafter-2023"], "needs 2048 clips of 46 frames, 6 of 6 in"),
        (["protocol.stride=2"], "protocol demo has stride=3, not 2"),
        (["protocol.name=mine", "protocol.stride=4"], "needs 2 clips of 61 frames"),
        (["protocol.name=mine", "protocol.frames=8"], "at least 9"),
        (["protocol.name=mine", "protocol.network=other"], "protocol.network=other"),
        (["generated=/nowhere"], "dynamicrafter animate run_dir=/nowhere"),
        (["second_reference=${reference}"], "is in"),
        (["device=gpu"], "device=gpu"),
    ],
)
def test_what_cannot_be_compared_is_refused(folders, tmp_path, overrides, words):
    config = config_for(folders, f"features={tmp_path}/features", *overrides)
    with pytest.raises(InputError) as caught:
        pipeline.run(config, tmp_path)
    assert words in str(caught.value)
    assert not (tmp_path / "results.json").exists()


@pytest.fixture(scope="module")
def with_short_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 6 held-out clips one is too short for a window; of the 12 others, those but five are."""
    root = tmp_path_factory.mktemp("short")
    captions = [(f"stock {i}", f"A square moves, take {i}.") for i in range(CLIPS)]
    train = [index for index in range(CLIPS) if index % 3 != 2]
    make_curate(root / "curate", captions, frames=46, short=[5, *train[5:]])
    make_animate(root / "animate", [new for _, new in captions[2::3]])
    return root


def test_clips_too_short_for_a_window_are_listed(with_short_clips, tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAMICRAFTER_CACHE", str(tmp_path / "empty"))
    overrides = ["protocol.name=mine", "protocol.count=5", f"features={tmp_path}/features"]
    pipeline.run(config_for(with_short_clips, *overrides), tmp_path)
    assert by_metric(tmp_path)["fvd"].count == {"generated": 5, "real": 5}
    listed = read_json(tmp_path / "results.json")["dropped"]
    assert listed[0] == {
        "key": "clip-005",
        "setting": "reference",
        "reason": "shorter than the 46 frames of a window",
    }
    others = {clip["key"] for clip in listed[1:]}
    assert others <= {f"clip-{index:03d}" for index in range(7, CLIPS) if index % 3 != 2}
    last = (tmp_path / "results.md").read_text().splitlines()
    assert any(line.startswith("Clips left out of reference: 1, shorter than") for line in last)


def test_short_clips_do_not_count(with_short_clips, folders, tmp_path):
    settings = ["protocol.name=mine", "protocol.count=6", f"features={tmp_path}/features"]
    with pytest.raises(InputError, match=r"6 clips of 46 frames, 5 of 6 in .*dataset/test have"):
        pipeline.run(config_for(with_short_clips, *settings), tmp_path)
    settings.append(f"second_reference={with_short_clips}/curate/dataset/train")
    with pytest.raises(InputError, match=r"6 clips of 46 frames, 5 of 12 in .*dataset/train have"):
        pipeline.run(config_for(folders, *settings), tmp_path)


def test_a_video_that_starts_from_no_clip_is_refused(folders, tmp_path):
    animate = make_animate(tmp_path / "animate", ["a", "b"])
    document = json.loads((animate / "items.json").read_text())
    document["items"][0]["key"] = "unknown"
    (animate / "items.json").write_text(json.dumps(document))
    config = config_for(folders, f"generated={animate}", f"features={tmp_path}/features")
    with pytest.raises(InputError, match="unknown starts from no clip"):
        pipeline.run(config, tmp_path)


def test_the_digest_covers_every_setting(folders):
    settings = dict(config_for(folders).protocol)
    changed = {
        "count": 5,
        "frames": 24,
        "stride": 4,
        "resolution": [128, 128],
        "network": "i3d-videogpt",
    }
    changed |= {"resize": "tf1_legacy_bilinear", "covariance": "biased"}
    digests = {protocol(settings).digest}
    for name, value in changed.items():
        digests.add(protocol({**settings, "name": "mine", name: value}).digest)
    assert len(digests) == 1 + len(changed)


@pytest.mark.slow
def test_the_real_network(folders, tmp_path):
    assets.fetch(["i3d-kinetics-400"])
    pipeline.run(config_for(folders, f"features={tmp_path}/features"), tmp_path)
    rows = by_metric(tmp_path)
    assert rows["fvd"].network.startswith("i3d-tfhub/1254ffbff2e6")
    assert rows["fvd"].value > 0
    assert rows["fvd_real"].value > 0
