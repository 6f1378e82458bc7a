import numpy as np
import pytest
import torch

from dynamicrafter.errors import InputError
from dynamicrafter.features import network
from dynamicrafter.features.network import Network


def windows(b: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (b, 2, 4, 4, 3), np.uint8)


def test_other_weights_give_a_metric_another_name():
    def named(name: str) -> Network:
        return Network(name, "", "", lambda device: lambda windows: windows)

    assert network.metric_name("FVD", named("i3d-tfhub")) == "FVD"
    assert network.metric_name("FVD", named("i3d-tfhub[rgb_imagenet]")) == "FVD[rgb_imagenet]"
    assert network.metric_name("KVD", named("videomae-v2-ssv2")) == "KVD[videomae-v2-ssv2]"


@pytest.mark.parametrize("batch", [1, 2, 5, 9])
def test_batches_are_bounded_and_joined(batch):
    seen = []

    def run(part: torch.Tensor) -> torch.Tensor:
        assert part.dtype == torch.uint8
        seen.append(len(part))
        return part.double().mean(dim=(1, 2, 3))

    found = network.extractor(run, "cpu", batch)(windows())
    assert max(seen) <= batch
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, windows().mean(axis=(1, 2, 3)), rtol=1e-6)


def test_frames_get_an_axis_for_time():
    found = network.frame_extractor(lambda frames: frames.reshape(len(frames), -1))(windows())
    np.testing.assert_array_equal(found, windows().reshape(5, 2, -1))


@pytest.mark.parametrize(
    "bad", [windows().astype(np.float32), windows()[0], windows()[..., :2], windows()[:0]]
)
def test_what_are_no_windows_is_refused(bad):
    with pytest.raises(InputError, match=r"windows are uint8 \[b, t, h, w, 3\], not"):
        network.extractor(lambda part: part, "cpu", 2)(bad)


def allowed() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("tf32", [False, True])
def test_precision_is_set_for_the_while_and_put_back(tf32):
    before = allowed()
    assert before == (True, False)  # torch's own: neither case leaves both as they are
    seen = []
    network.extractor(lambda part: seen.append(allowed()) or part, "cpu", 9, tf32)(windows())
    assert seen == [(tf32, tf32)]
    assert allowed() == before
    with pytest.raises(ZeroDivisionError), network.float32_products(tf32):
        _ = 1 // 0
    assert allowed() == before
