import itertools
import math

import numpy as np
import pytest

from curation.passes import shots as shots_module
from curation.passes.shots import Look, lead_in_s, mark_cuts, split_into_shots
from dynamicrafter.errors import MediaError

FPS = 8


def look(number):
    return Look(np.array([number]), None)


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
        marked = ((time, look(i), i in cuts) for i, time in enumerate(times) if time >= begin)
        shots = split_into_shots(
            marked,
            span=span,
            from_beginning=begin == 0,
            max_shot_s=max_shot_s,
            frame_s=1 / FPS,
        )
        for shot in shots:
            numbers = [int(seen.tiny[0]) for seen in shot.looks]
            assert shot.times == [times[number] for number in numbers]
            assert shot.times[0] == shot.start_s
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
    looks = [Look(scene, None) for scene in scenes]
    marked = list(mark_cuts(((i / 24, seen) for i, seen in enumerate(looks)), 3.0, 15.0))
    assert [time for time, _, _ in marked] == [i / 24 for i in range(120)]
    assert all(found is seen for (_, found, _), seen in zip(marked, looks, strict=True))
    assert [i for i, (_, _, cut) in enumerate(marked) if cut] == [30, 60, 90]


def test_more_frames_than_any_rate_gives_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(shots_module, "MAX_SHOT_FRAMES", 50)
    taken = []

    def endless():
        for i in itertools.count():
            taken.append(i)
            yield 1e-6 * i, look(i), False

    options = {"span": (0.0, math.inf), "from_beginning": True, "max_shot_s": 10, "frame_s": 1e-6}
    with pytest.raises(MediaError, match="more than 50 frames in one shot") as caught:
        list(split_into_shots(endless(), **options))
    assert caught.value.reason == "bad_rate"
    assert len(taken) == 51


@pytest.mark.parametrize("times", [[], [0.0]])
def test_a_video_of_no_frame_or_one(times):
    marked = mark_cuts(
        ((time, Look(np.zeros((72, 128, 3), np.uint8), None)) for time in times), 3, 15
    )
    options = {"span": (0.0, math.inf), "from_beginning": True, "max_shot_s": 10, "frame_s": 0.125}
    found = [(shot.start_s, shot.end_s, shot.times) for shot in split_into_shots(marked, **options)]
    assert found == [(0.0, 0.125, [0.0])] * len(times)
