"""Who is asked what, in which order, and on which side each method stands: pure functions.

Everybody answers the same questions. The order follows a Williams square: over its rows every
question comes equally often at every place and after every other one. The sides follow Latin
squares: over as many participants, or questions, as a question has videos, each method stands once
at each place.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dynamicrafter.draws import generator
from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_json

ASPECTS = {
    "motion_quality": "Which video moves best?",
    "temporal_coherence": "Which video holds together best from frame to frame?",
    "input_conformity": "Which video is truest to the image and to the text?",
}
SIDES = "ABCDEF"
SAME = "same"
COMPARE = ("pairs", "all")


@dataclass(frozen=True)
class Question:
    """The videos of `methods` that start from the image `key`; the same for all participants.

    In an attention check the video of one of the methods is scrambled.
    """

    number: int
    key: str
    methods: tuple[str, ...]
    scrambled: str | None = None


@dataclass(frozen=True)
class Shown:
    """A question on a participant's page; `sides` are its methods from left to right."""

    token: str
    question: Question
    sides: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """All that a participant is shown, in order."""

    participant: str
    shown: tuple[Shown, ...]


def questions(
    keys: Sequence[str], methods: Sequence[str], compare: str, count: int | None, seed: int
) -> list[Question]:
    """The first `count` questions, spread evenly over keys and over pairs of methods.

    Args:
        keys: those that all methods have.
        methods: their names, 2 to 6.
        compare: `pairs` asks about two methods at a time, `all` about all of them at once.
        count: how many; None asks everything.
        seed: of the order of the keys.

    Raises:
        InputError: more questions than there are, an unknown `compare`, too many methods.
    """
    if compare not in COMPARE:
        raise InputError(f"compare={compare}; choose {', '.join(COMPARE)}")
    if not 2 <= len(methods) <= len(SIDES):
        raise InputError(f"{len(methods)} methods; a study takes 2 to {len(SIDES)}")
    width = 2 if compare == "pairs" else len(methods)
    sets = list(itertools.combinations(methods, width))
    order = generator(seed, 0, "study/keys").permutation(len(keys))
    shuffled = [sorted(keys)[index] for index in order]
    # A round asks about every key once; the next round moves each key on to its next pair.
    everything = [
        (key, sets[(place + turn) % len(sets)])
        for turn in range(len(sets))
        for place, key in enumerate(shuffled)
    ]
    if count is not None and not 1 <= count <= len(everything):
        raise InputError(
            f"questions={count}, but {len(keys)} inputs that all methods have and {len(sets)} "
            f"sets of methods give {len(everything)}; pass a number from 1 to that"
        )
    return [Question(number, *one) for number, one in enumerate(everything[:count])]


def checks(asked: Sequence[Question], count: int, seed: int) -> list[Question]:
    """Attention checks: `count` of the questions once more, with one video scrambled.

    Raises:
        InputError: more checks than questions.
    """
    if not 0 <= count <= len(asked):
        raise InputError(f"checks={count}; pass a number from 0 to the {len(asked)} questions")
    chosen = generator(seed, 0, "study/checks").permutation(len(asked))[:count]
    found = []
    for place, index in enumerate(chosen):
        one = asked[index]
        which = int(generator(seed, place, "study/scrambled").integers(len(one.methods)))
        number = len(asked) + place
        found.append(Question(number, one.key, one.methods, scrambled=one.methods[which]))
    return found


def sheets(
    asked: Sequence[Question],
    checked: Sequence[Question],
    participants: int,
    seed: int,
    content: str,
) -> list[Sheet]:
    """One sheet for each participant.

    Args:
        asked: the questions.
        checked: the attention checks.
        participants: how many.
        seed: of all orders.
        content: digest of the videos; names of participants and questions are made of it, so that
            two studies share none.

    Raises:
        InputError: fewer than one participant.
    """
    if participants < 1:
        raise InputError(f"participants={participants}; pass at least 1")
    rows = williams(len(asked))
    first = generator(seed, 0, "study/order").permutation(len(asked))
    turns = _turns([*asked, *checked])
    made = []
    for index in range(participants):
        order = [asked[first[place]] for place in rows[index % len(rows)]]
        for check in checked:  # never the very first, which people need to find their way
            draw = generator(seed, index, f"study/place/{check.number}")
            order.insert(int(draw.integers(1, len(order) + 1)), check)
        shown = tuple(
            Shown(
                sha256_json([content, seed, index, one.number])[:12],
                one,
                _sides(one, turns[one.number], index, seed),
            )
            for one in order
        )
        made.append(Sheet(sha256_json([content, seed, index])[:10], shown))
    return made


def williams(n: int) -> list[list[int]]:
    """The rows of a Williams square over 0 to n-1: n of them, 2n where n is odd.

    Every number comes equally often at every place and right after every other one (E. J.
    Williams, 1949).
    """
    zigzag = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(n)]
    rows = [[(step + row) % n for step in zigzag] for row in range(n)]
    return rows if n % 2 == 0 else rows + [row[::-1] for row in rows]


def _turns(every: Sequence[Question]) -> dict[int, int]:
    """By number: how many questions before it are about the same methods."""
    seen: dict[tuple[tuple[str, ...], bool], int] = defaultdict(int)
    turns = {}
    for one in every:
        kind = (one.methods, one.scrambled is not None)
        turns[one.number] = seen[kind]
        seen[kind] += 1
    return turns


def _sides(one: Question, turn: int, participant: int, seed: int) -> tuple[str, ...]:
    """The methods from left to right: a row of a Latin square that is drawn anew for each block."""
    width = len(one.methods)
    kind = "check" if one.scrambled else "question"
    name = f"study/sides/{kind}/{'/'.join(one.methods)}/{turn // width}"
    drawn = generator(seed, participant // width, name).permutation(width)
    shift = (turn + participant) % width
    return tuple(one.methods[drawn[(place + shift) % width]] for place in range(width))
