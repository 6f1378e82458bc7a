"""`dynamicrafter eval sensitivity`: curves of spoiled videos, the floor, and what goes unseen."""

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from dynamicrafter.errors import InputError
from dynamicrafter.features.network import Network
from dynamicrafter.files import read_json
from eval import sensitivity
from eval.corruptions import CORRUPTIONS
from tests.report_folders import make_curate


def config(root, *overrides):
    with initialize_config_module("conf", version_base="1.3"):
        return compose(
            "eval_sensitivity",
            [f"reference={root}/curate/dataset/train", f"run_dir={root}/out", "tracking=disabled",
             *overrides],
        )  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    make_curate(root / "curate", [(f"stock {i}", "It moves.") for i in range(12)], frames=46)
    return root


def test_a_network_without_time_is_blind_to_it(clips, tmp_path, monkeypatch):
    """One that sees the mean picture alone."""

    def load(device):
        return lambda videos: videos.mean(axis=(1, 2, 3)).astype(np.float32)

    blind = Network("i3d-tfhub", "mean picture/1", "none", load)
    monkeypatch.setattr(sensitivity, "distance_network", lambda protocol, config: blind)
    summary = sensitivity.run(config(clips, "corruptions=[noise,reverse]"), tmp_path)
    found = read_json(tmp_path / "sensitivity.json")
    points = {(one["corruption"], one["strength"]): one["fvd"] for one in found["points"]}
    assert len(points) == 8
    assert points["reverse", 16.0] == pytest.approx(0, abs=1e-6)
    assert summary["blind"] == found["blind"]
    assert "reverse" in found["blind"]
    assert "Hardly seen at full strength" in (tmp_path / "sensitivity.html").read_text()


def test_the_curve_rises_with_noise(clips, tmp_path, pixels_as_network):
    sensitivity.run(config(clips, "corruptions=[noise]", "count=6"), tmp_path)
    found = read_json(tmp_path / "sensitivity.json")
    assert found["videos"] == 6
    assert [one["strength"] for one in found["points"]] == list(CORRUPTIONS["noise"].strengths)
    assert found["floor"]["fvd"] > 0
    lines = (tmp_path / "sensitivity.csv").read_text().splitlines()
    assert lines[0] == "corruption,strength,fvd,kvd,rise"
    assert len(lines) == 5


def test_what_cannot_be_measured_is_refused(clips, tmp_path, pixels_as_network):
    with pytest.raises(InputError, match="no corruption melt"):
        sensitivity.run(config(clips, "corruptions=[melt]"), tmp_path)
    with pytest.raises(InputError, match="has 2 videos"):
        sensitivity.run(config(clips, "count=2"), tmp_path)
