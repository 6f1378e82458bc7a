import numpy as np

from curation.measures.exposure import black_share, frozen_share
from curation.measures.phash import clip_phash, phash_bits

RNG = np.random.default_rng(0)


def picture(seed):
    small = np.random.default_rng(seed).integers(0, 255, (8, 14, 3), np.uint8)
    return np.kron(small, np.ones((16, 16, 1), np.uint8))


def test_black_share():
    dark = RNG.integers(0, 25, (64, 96, 3), np.uint8)
    night = dark.copy()
    night[:16, :48] = 200  # a lit window: an eighth of the picture
    assert black_share([dark] * 3 + [picture(0)]) == 0.75
    assert black_share([night]) == 0.0


def test_frozen_share():
    noise = [picture(0).astype(int) + RNG.integers(-1, 2, (128, 224, 3)) for _ in range(5)]
    still = [np.clip(frame, 0, 255).astype(np.uint8) for frame in noise]
    assert frozen_share(still) == 1.0
    moving = [np.roll(picture(0), 2 * i, axis=1) for i in range(5)]
    assert frozen_share(moving) == 0.0
    on_twos = [moving[i // 2] for i in range(9)]
    assert frozen_share(on_twos) == 0.5
    small = [picture(0) for _ in range(4)]
    for i, frame in enumerate(small):  # 0.5 % of the picture moves
        frame[40:52, 12 * i : 12 * i + 12] = 255 - frame[40:52, 12 * i : 12 * i + 12]
    assert frozen_share(small) == 0.0


def test_phash_tells_copies_from_others():
    clip = [picture(1)] * 8
    brighter = [np.clip(f * 0.9 + 20, 0, 255).astype(np.uint8) for f in clip]
    bits, copy, other = (phash_bits(clip_phash(c)) for c in (clip, brighter, [picture(2)] * 8))
    assert bits.shape == (3,)
    assert np.bitwise_count(bits ^ copy).max() <= 4
    assert np.bitwise_count(bits ^ other).min() >= 16
