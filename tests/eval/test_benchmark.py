"""`dynamicrafter eval benchmark`: three plain commands, the sampler as the protocol says."""

import pytest
from hydra import compose, initialize_config_module

from dynamicrafter.errors import InputError
from eval.benchmark import phases


def config(*overrides):
    with initialize_config_module("conf", version_base="1.3"):
        given = ["benchmark.root=videos", "pretrained=model.ckpt", "run_dir=out", *overrides]
        return compose("eval_benchmark", given)


def test_the_phases_hand_on_what_they_make():
    found = phases(config('extra.eval=["clip=x.pt"]'))
    assert list(found) == ["select", "animate", "eval"]
    assert {"run_dir=out/select", "benchmark=ucf101", "benchmark.root=videos"} <= set(
        found["select"]
    )
    assert {"benchmark.lists=null", "benchmark.part=test"} <= set(found["select"])
    (sizes,) = [one for one in found["select"] if one.startswith("benchmark.expected=")]
    assert "videos: 13320" in sizes
    assert "image=out/select/items.csv" in found["animate"]
    assert {"reference=out/select", "generated=out/animate", "clip=x.pt"} <= set(found["eval"])
    assert {"sampling.steps=50", "sampling.eta=1.0", "sampling.fs=3"} <= set(found["animate"])
    assert "protocol=dynamicrafter-2023" in found["select"]
    assert "protocol=dynamicrafter-2023" in found["eval"]


def test_a_protocol_that_leaves_the_sampler_free_sets_nothing():
    found = phases(config("protocol=stylegan-v"))
    assert not any(argument.startswith("sampling.") for argument in found["animate"])
    with pytest.raises(InputError, match=r"mine is no protocol of conf/protocol"):
        phases(config("protocol.name=mine"))
