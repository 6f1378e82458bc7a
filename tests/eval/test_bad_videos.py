"""Folders of videos as people have them: each fault one clear line, or a row with a reason."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from dynamicrafter.errors import FailedShareError, InputError
from dynamicrafter.features.network import Network
from dynamicrafter.files import read_json
from eval import measures, pipeline, results
from tests.eval.test_pipeline import config_for
from tests.report_folders import moving_square

KEYS = ("a", "b", "c", "d")


def encode(frames, fps=8, codec="libx264", pixels="yuv420p"):
    """mp4 bytes of uint8 [t, h, w, 3] in a pixel format."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def fill(folder, start=0, frames=16, size=64, **others):
    """One video for each key; those in `others` are given as bytes."""
    folder.mkdir(parents=True)
    for index, key in enumerate(KEYS):
        data = encode(moving_square(start + index, frames, size))
        (folder / f"{key}.mp4").write_bytes(others.get(key, data))
    return folder


@pytest.fixture
def real(tmp_path):
    return fill(tmp_path / "real", frames=46)


@pytest.fixture
def evaluate(tmp_path, real, pixels_as_network):
    def run(generated, *overrides):
        config = config_for(
            tmp_path,
            f"reference={real}",
            "second_reference=null",
            f"generated={generated}",
            "inspect_workers=0",
            *overrides,
        )
        pipeline.run(config, tmp_path / "eval")
        return results.read(tmp_path / "eval")

    return run


def dropped(found):
    return {one.key: (one.setting, one.reason) for one in found.dropped}


def test_two_folders_of_equal_names_are_pairs(evaluate, tmp_path):
    found = evaluate(fill(tmp_path / "mine", 9))
    assert found.method == "mine"
    assert found.rows[0].count == {"generated": 4, "real": 4}
    assert [pair.real for pair in found.pairs] == [f"real/{key}.mp4" for key in KEYS]
    assert not found.dropped


def test_other_sizes_rates_and_formats_are_read(evaluate, tmp_path):
    odd = moving_square(30, 16, 96)[:, :70, :46]  # portrait, both sides not of the protocol
    grey = encode(moving_square(31), pixels="gray")
    deep = encode(moving_square(32), pixels="yuv420p10le")
    found = evaluate(fill(tmp_path / "mine", 9, a=encode(odd, 30), b=grey, c=deep))
    assert not found.dropped
    assert found.rows[0].count == {"generated": 4, "real": 4}
    assert "Generated videos of 46x70 were brought to 64x64." in found.remarks


@pytest.mark.parametrize("frames", [1, 8, 15])
def test_a_short_video_is_named(evaluate, tmp_path, frames):
    mine = fill(tmp_path / "mine", 9, b=encode(moving_square(5, frames)))
    with pytest.raises(FailedShareError, match=r"b \(shorter than the 16 frames"):
        evaluate(mine)
    found = evaluate(mine, "allow_incomplete=true")
    assert dropped(found) == {"b": ("generated", "shorter than the 16 frames of a window")}
    assert found.rows[0].count == {"generated": 3, "real": 3}
    assert "shorter than the 16 frames" in (tmp_path / "eval/results.md").read_text()


def test_longer_videos_count_with_their_first_frames(evaluate, tmp_path):
    found = evaluate(fill(tmp_path / "mine", 9, frames=20))
    assert "Of 4 longer generated videos the first 16 frames count." in found.remarks


@pytest.mark.parametrize(
    "data", [b"", b"<html>404</html>", b"\0" * 4096], ids=["empty", "page", "zeros"]
)
def test_what_is_no_video_is_named(evaluate, tmp_path, data):
    mine = fill(tmp_path / "mine", 9, c=data)
    with pytest.raises(FailedShareError, match="c \\("):
        evaluate(mine)
    found = evaluate(mine, "allow_incomplete=true")
    assert set(dropped(found)) == {"c"}


def test_a_torn_video_is_named(evaluate, tmp_path):
    whole = encode(moving_square(5))
    mine = fill(tmp_path / "mine", 9, c=whole[: len(whole) // 2])
    with pytest.raises(FailedShareError, match="c \\("):
        evaluate(mine)


def test_unequal_counts_are_named_on_both_sides(evaluate, tmp_path):
    mine = fill(tmp_path / "mine", 9)
    (mine / "d.mp4").rename(mine / "e.mp4")
    with pytest.raises(FailedShareError, match=r"2 generated videos .* missing"):
        evaluate(mine)
    assert dropped(evaluate(mine, "allow_incomplete=true")) == {
        "d": ("generated", "no video of this key was generated"),
        "e": ("generated", "no real video of this key"),
    }


def test_folders_without_a_common_name_are_compared_as_sets(evaluate, tmp_path):
    mine = fill(tmp_path / "mine", 9)
    for path in list(mine.iterdir()):
        path.rename(mine / f"other-{path.name}")
    found = evaluate(mine)
    assert any("share no key" in remark for remark in found.remarks)
    assert found.rows[0].count == {"generated": 4, "real": 4}
    rows = {row.metric: row for row in found.rows}
    assert rows["pic"].value is None


def test_too_few_videos(evaluate, tmp_path):
    mine = fill(tmp_path / "mine", 9)
    with pytest.raises(InputError, match="needs 5 clips of 46 frames, 4 of 4"):
        evaluate(mine, "protocol.name=mine", "protocol.count=5")


def test_the_same_video_twice(evaluate, tmp_path):
    same = encode(moving_square(5))
    with pytest.raises(InputError, match="same video under several keys: a, b"):
        evaluate(fill(tmp_path / "mine", 9, a=same, b=same))


def test_two_files_of_one_key(evaluate, tmp_path):
    mine = fill(tmp_path / "mine", 9)
    (mine / "deeper").mkdir()
    (mine / "deeper" / "a.mp4").write_bytes(encode(moving_square(77)))
    with pytest.raises(InputError, match="have the same key a"):
        evaluate(mine)


def test_an_empty_folder(evaluate, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no video"):
        evaluate(tmp_path / "none")


def test_features_that_are_not_finite_name_their_video(evaluate, tmp_path, monkeypatch):
    def load(device):
        return lambda videos: np.where(videos[:, 0, 0, 0, :1] >= 0, np.nan, 0.0)

    network = Network("i3d-tfhub", "i3d-tfhub/broken", "none", load)
    monkeypatch.setattr(measures, "distance_network", lambda protocol, config: network)
    with pytest.raises(InputError, match="i3d-tfhub gives values that are not finite for a, b, c"):
        evaluate(fill(tmp_path / "mine", 9))


def test_a_cache_of_other_weights_or_another_cut_is_not_used(evaluate, tmp_path, monkeypatch):
    mine, cache = fill(tmp_path / "mine", 9), f"features={tmp_path}/cache"
    before = evaluate(mine, cache).rows[0].value
    smaller = evaluate(mine, cache, "protocol.name=mine", "protocol.resolution=[32,32]")
    assert smaller.rows[0].value != before

    def load(device):
        return lambda videos: videos[:, ::5].max(axis=(2, 3)).reshape(len(videos), -1).astype(float)

    other = Network("i3d-tfhub", "i3d-tfhub/others", "none", load)
    monkeypatch.setattr(measures, "distance_network", lambda protocol, config: other)
    assert evaluate(mine, cache).rows[0].value != before


def test_a_broken_entry_of_the_cache_is_made_again(evaluate, tmp_path, pixels_as_network):
    mine, cache = fill(tmp_path / "mine", 9), tmp_path / "cache"
    before = evaluate(mine, f"features={cache}")
    for path in cache.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-3] + b"xxx")
    seen = sum(pixels_as_network)
    assert evaluate(mine, f"features={cache}") == before
    assert sum(pixels_as_network) == 2 * seen


def test_other_protocols_stand_beside_the_first(evaluate, tmp_path):
    found = evaluate(fill(tmp_path / "mine", 9), "also=[stylegan-v,fvd-2018]")
    assert [side.protocol["name"] for side in found.sides] == ["stylegan-v", "fvd-2018"]
    assert found.sides[0].protocol["digest"] != found.protocol["digest"]
    lines = (tmp_path / "eval/results.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in lines[1:]} == {"demo", "stylegan-v", "fvd-2018"}
    with pytest.raises(InputError, match="there is no protocol nonsense"):
        evaluate(tmp_path / "mine", "also=[nonsense]")


def test_a_reference_without_one_video_of_use_is_refused(evaluate, tmp_path):
    short = fill(tmp_path / "short", frames=16)
    reason = r"none of the 4 videos in .*short .*: a \(shorter than the 46 frames of a window\), b "
    with pytest.raises(InputError, match=reason + ".*reference=null"):
        evaluate(fill(tmp_path / "mine", 9), f"reference={short}")


def test_a_reference_of_none_leaves_the_distances_absent(evaluate, tmp_path):
    found = evaluate(fill(tmp_path / "mine", 9), "reference=null")
    rows = {row.metric: row for row in found.rows}
    assert rows["fvd"].value is None
    assert "no real videos" in rows["fvd"].reason
    assert rows["flicker"].reliable
    assert "motion_real" not in rows


def test_values_by_video_are_kept(evaluate, tmp_path):
    import pandas as pd

    evaluate(fill(tmp_path / "mine", 9))
    table = pd.read_parquet(tmp_path / "eval" / "per_video.parquet")
    assert list(table["key"]) == list(KEYS)
    assert {"flicker", "motion_generated", "motion_real"} <= set(table.columns)
    assert read_json(tmp_path / "eval/results.json")["method"] == "mine"
