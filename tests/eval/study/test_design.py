"""Who is asked what: complete, balanced, and the same again from the same seed."""

import itertools
from collections import Counter

import pytest

from dynamicrafter.errors import InputError
from eval.study.design import checks, questions, sheets, williams

KEYS = [f"clip-{index}" for index in range(6)]
METHODS = ["one", "two", "three"]


def make(participants: int, compare: str = "pairs", count: int | None = None, seed: int = 0):
    asked = questions(KEYS, METHODS, compare, count, seed)
    return asked, sheets(asked, checks(asked, 2, seed), participants, seed, "content")


def asked_of(sheet):
    return [one for one in sheet.shown if one.question.scrambled is None]


@pytest.mark.parametrize("n", [2, 4, 5, 6, 9])
def test_a_williams_square_balances_places_and_neighbours(n):
    rows = williams(n)
    each = len(rows) // n
    assert all(sorted(row) == list(range(n)) for row in rows)
    for place in range(n):
        assert set(Counter(row[place] for row in rows).values()) == {each}
    neighbours = Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert set(neighbours.values()) == {each}
    assert len(neighbours) == n * (n - 1)


def test_every_input_meets_every_pair_once():
    asked, _ = make(1)
    assert len({(one.key, one.methods) for one in asked}) == len(asked) == 6 * 3
    assert [one.number for one in asked] == list(range(18))


def test_the_first_questions_spread_over_inputs_and_pairs():
    asked, _ = make(1, count=6)
    assert {one.key for one in asked} == set(KEYS)
    assert set(Counter(one.methods for one in asked).values()) == {2}


def test_everybody_is_asked_everything_and_the_checks_are_never_first():
    asked, made = make(7)
    for sheet in made:
        assert sorted(one.question.number for one in asked_of(sheet)) == list(range(len(asked)))
        assert sum(one.question.scrambled is not None for one in sheet.shown) == 2
        assert sheet.shown[0].question.scrambled is None


def test_two_participants_in_a_row_see_every_pair_from_both_sides():
    _, made = make(8)
    for left, right in zip(made[::2], made[1::2], strict=True):
        other = {one.question.number: one.sides for one in right.shown}
        for one in left.shown:
            assert one.sides == other[one.question.number][::-1]


def test_each_participant_sees_each_method_of_a_pair_equally_often_on_the_left():
    _, made = make(8)
    for sheet in made:
        first = Counter((one.question.methods, one.sides[0]) for one in asked_of(sheet))
        assert set(first.values()) == {3}


def test_all_methods_at_once_take_all_places_over_participants_and_over_questions():
    _, made = make(3, "all")
    for sheet in made:
        for place in range(3):
            assert set(Counter(one.sides[place] for one in asked_of(sheet)).values()) == {2}
    for number in range(6):
        sides = [o.sides for sheet in made for o in sheet.shown if o.question.number == number]
        for place in range(3):
            assert {one[place] for one in sides} == set(METHODS)


def test_the_order_differs_between_participants_and_sides_are_no_pattern():
    _, made = make(6)
    assert len({tuple(one.question.number for one in asked_of(sheet)) for sheet in made}) == 6
    lefts = {tuple(sorted((o.question.number, o.sides[0]) for o in s.shown)) for s in made}
    assert len(lefts) == 6


def test_the_seed_and_the_content_decide_everything():
    assert make(4)[1] == make(4)[1]
    assert make(4)[1] != make(4, seed=1)[1]
    asked, made = make(4)
    other = sheets(asked, [], 4, 0, "other videos")
    names = {sheet.participant for sheet in made} | {o.token for s in made for o in s.shown}
    assert len(names) == 4 + 4 * 20
    assert not names & {sheet.participant for sheet in other}
    assert not names & {one.token for sheet in other for one in sheet.shown}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compare": "some"}, "compare=some; choose pairs, all"),
        ({"count": 19}, r"questions=19, .* give 18"),
        ({"count": 0}, "questions=0"),
        ({"methods": ["one"]}, "1 methods; a study takes 2 to 6"),
        ({"methods": list("abcdefg")}, "7 methods"),
    ],
)
def test_what_cannot_be_asked_is_refused(change, words):
    settings = {"keys": KEYS, "methods": METHODS, "compare": "pairs", "count": None, "seed": 0}
    with pytest.raises(InputError, match=words):
        questions(**{**settings, **change})


def test_too_many_checks_and_too_few_participants_are_refused():
    asked = questions(KEYS, METHODS, "all", 2, 0)
    with pytest.raises(InputError, match="checks=3"):
        checks(asked, 3, 0)
    with pytest.raises(InputError, match="participants=0"):
        sheets(asked, [], 0, 0, "content")
