import numpy as np
import pytest

from dynamicrafter.errors import MediaError
from dynamicrafter.media.sampling import center_crop, window_indices


def test_a_window_fits_wherever_it_lies():
    for frames in range(16, 120):
        for stride in range(1, 7):
            for position in (0.0, 0.3, 0.999999):
                indices = window_indices(frames, 16, stride, position)
                assert indices[0] >= 0
                assert indices[-1] < frames
                assert len(set(np.diff(indices))) == 1


def test_the_stride_shrinks_only_for_short_clips():
    assert np.diff(window_indices(91, 16, 6, 0.5))[0] == 6  # 15 · 6 + 1 = 91
    assert np.diff(window_indices(90, 16, 6, 0.5))[0] == 5  # 90 // 16
    assert np.diff(window_indices(31, 16, 6, 0.5))[0] == 1  # 31 // 16


def test_positions_reach_every_start_alike():
    starts = [window_indices(20, 16, 1, p)[0] for p in np.arange(0, 1, 0.01)]
    assert np.bincount(starts).tolist() == [20] * 5


def test_too_short():
    with pytest.raises(MediaError) as caught:
        window_indices(15, 16, 1, 0)
    assert caught.value.reason == "too_short"


@pytest.mark.parametrize("size", [(256, 456), (456, 256), (255, 300), (32, 32), (20, 50)])
def test_center_crop_keeps_the_centre(size):
    y, x = np.mgrid[: size[0], : size[1]] / min(size)
    ramp = 128 + 100 * np.stack([x - x.mean(), y - y.mean(), 0 * x], axis=-1)
    square = center_crop(np.clip(ramp, 0, 255).round().astype(np.uint8)[None], (32, 32))
    assert square.shape == (1, 32, 32, 3)
    # The square spans the short side, so the ramps span ±50 about 128.
    expected = 128 + 100 * ((np.arange(32) + 0.5) / 32 - 0.5)
    assert np.abs(square[0, 16, :, 0] - expected).max() < 3.5
    assert np.abs(square[0, :, 16, 1] - expected).max() < 3.5
