import itertools
import math

import numpy as np
import pytest

from curation.shots import lead_in_s, mark_cuts, split_into_shots

FPS = 8


def by_the_rule(times, cuts, max_shot_s):
    """The pieces of a whole file, straight from the definition: [(start, end)]."""
    starts = [0, *sorted(cuts), len(times)]
    pieces = []
    for first, last in itertools.pairwise(starts):
        borders = [times[first]]
        if times[last - 1] - times[first] >= max_shot_s:
            for i in range(first + 1, last):
                if times[i] // max_shot_s > times[i - 1] // max_shot_s:
                    borders.append(times[i])
        end = times[last] if last < len(times) else times[-1] + 1 / FPS
        pieces += list(itertools.pairwise([*borders, end]))
    return pieces


def by_spans(times, cuts, max_shot_s, span_s):
    pieces = []
    for number in range(math.ceil(times[-1] / span_s)):
        span = (number * span_s, (number + 1) * span_s)
        begin = max(0.0, span[0] - lead_in_s(max_shot_s))
        marked = ((time, np.array([i]), i in cuts) for i, time in enumerate(times) if time >= begin)
        shots = split_into_shots(
            marked,
            span=span,
            from_beginning=begin == 0,
            max_shot_s=max_shot_s,
            frame_s=1 / FPS,
        )
        for shot in shots:
            numbers = [int(frame[0]) for frame in shot.frames]
            assert times[numbers[0]] == shot.start_s
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
            assert times[numbers[-1]] < shot.end_s <= times[numbers[-1]] + 1.01 / FPS
            pieces.append((shot.start_s, shot.end_s))
    return pieces


@pytest.mark.parametrize("seed", range(40))
def test_shots_do_not_depend_on_the_spans(seed):
    rng = np.random.default_rng(seed)
    times = [i / FPS for i in range(int(rng.integers(100, 700)))]
    count = int(rng.integers(0, 25))
    cuts = set(rng.integers(1, len(times), count).tolist())
    expected = by_the_rule(times, cuts, 10)
    assert max(end - start for start, end in expected) <= 10 + 1e-9
    for span_s in (7.3, 20, 60, 1000):
        assert by_spans(times, cuts, 10, span_s) == expected


def test_the_cuts_of_known_scenes():
    """Four scenes, one with fast motion and one with a slow fade, have three cuts."""
    rng = np.random.default_rng(1)
    scenes = []
    for hue in range(4):
        small = rng.integers(0, 255, (9, 16, 3), np.uint8)
        picture = np.kron(small, np.ones((10, 10, 1), np.uint8))
        picture[..., hue % 3] //= 3
        shift = 3 if hue == 1 else 0
        fade = [1 - 0.02 * i if hue == 2 else 1 for i in range(30)]
        scenes += [(np.roll(picture, shift * i, 1) * fade[i]).astype(np.uint8) for i in range(30)]
    marked = list(mark_cuts(((i / 24, f) for i, f in enumerate(scenes)), 3.0, 15.0))
    assert [time for time, _, _ in marked] == [i / 24 for i in range(120)]
    assert all(frame is scene for (_, frame, _), scene in zip(marked, scenes, strict=True))
    assert [i for i, (_, _, cut) in enumerate(marked) if cut] == [30, 60, 90]
