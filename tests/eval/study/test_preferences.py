"""Shares, win rates, strengths and agreement against hand-made and published figures."""

import numpy as np
import pytest

from dynamicrafter.statistics import wilson_interval
from eval.study.agreement import MISSING, agreements, krippendorff_alpha
from eval.study.answers import Answer
from eval.study.preferences import bradley_terry, duels, participant_range, shares, strengths

M = MISSING
# Wins of the row over the column in baseball's American League of 1987 (A. Agresti, Categorical
# Data Analysis), and the abilities that R's package BradleyTerry2 gives for them: Milwaukee,
# Detroit, Toronto, New York, Boston, Cleveland, and Baltimore as 0.
WINS = [
    [0, 7, 9, 7, 7, 9, 11],
    [6, 0, 7, 5, 11, 9, 9],
    [4, 6, 0, 7, 7, 8, 12],
    [6, 8, 6, 0, 6, 7, 10],
    [6, 2, 6, 7, 0, 7, 12],
    [4, 4, 5, 6, 6, 0, 6],
    [2, 4, 1, 3, 1, 7, 0],
]
ABILITIES = [1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839, 0.0]


def pair(participant: str, question: int, choice: str | None, sides=("x", "y"), aspect="motion"):
    return Answer(participant, question, aspect, tuple(sides), choice)


FOUR = [
    pair("ann", 0, "x"), pair("ann", 1, "x"), pair("ann", 2, None), pair("ann", 3, "y"),
    pair("bob", 0, "x"), pair("bob", 1, "x"), pair("bob", 2, "x"), pair("bob", 3, "x"),
]  # fmt: skip


def test_shares_are_counts_over_counts_and_sum_to_one():
    found = {one.method: one for one in shares(FOUR, ["x", "y"], ["motion"])}
    assert {name: (one.chosen, one.shown) for name, one in found.items()} == {
        "x": (6, 8), "y": (1, 8), "same": (1, 8),
    }  # fmt: skip
    assert found["x"].share == 0.75
    assert sum(one.share for one in found.values()) == 1
    wilson = wilson_interval(6, 8)
    assert found["x"].wilson == (wilson.low, wilson.high)


def test_a_method_is_counted_only_where_it_was_shown():
    answers = [*FOUR, pair("ann", 4, "z", ("z", "y")), pair("bob", 4, None, ("y", "z"))]
    found = {one.method: (one.chosen, one.shown) for one in shares(answers, "xyz", ["motion"])}
    assert found == {"x": (6, 8), "y": (1, 10), "z": (1, 2), "same": (2, 10)}


def test_the_interval_over_participants_is_that_of_their_means():
    """Equal numbers of answers: the jackknife is Student's interval of the means 0.5 and 1."""
    found = participant_range(FOUR, [float(one.choice == "x") for one in FOUR])
    reach = 12.7062047364 * 0.25  # t of 1 degree of freedom, standard error of (0.5, 1)
    assert found == (pytest.approx(max(0.75 - reach, 0)), 1.0)
    people = [pair(name, 0, "x" if name < "c" else "y") for name in "abcdefgh"]
    low, high = participant_range(people, [float(one.choice == "x") for one in people])
    error = np.std([1, 1, 0, 0, 0, 0, 0, 0], ddof=1) / 8**0.5
    assert low == pytest.approx(max(0.25 - 2.36462425 * error, 0))
    assert high == pytest.approx(0.25 + 2.36462425 * error)


def test_answers_of_one_person_that_hang_together_widen_the_interval():
    each = [pair(name, n, "x" if name < "f" else "y") for name in "abcdefghij" for n in range(10)]
    share = shares(each, ["x", "y"], ["motion"])[0]
    wide = share.participants[1] - share.participants[0]
    assert wide > 2 * (share.wilson[1] - share.wilson[0])


def test_one_participant_gives_no_interval_over_participants():
    assert shares(FOUR[:4], ["x", "y"], ["motion"])[0].participants is None


def test_a_tie_is_half_a_win_of_both():
    (found,) = duels(FOUR, ["x", "y"], ["motion"])
    assert (found.wins, found.losses, found.ties) == (6, 1, 1)
    assert found.rate == 6.5 / 8
    (mirrored,) = duels(FOUR, ["y", "x"], ["motion"])
    assert mirrored.rate == pytest.approx(1 - found.rate)


def test_bradley_terry_gives_the_published_abilities():
    strength = bradley_terry(np.array(WINS, float))
    assert np.log(strength / strength[-1]) == pytest.approx(ABILITIES, abs=2e-4)
    assert strength.sum() == pytest.approx(1)


def test_bradley_terry_of_two_is_the_win_rate():
    assert bradley_terry(np.array([[0, 6.5], [1.5, 0]])) == pytest.approx([6.5 / 8, 1.5 / 8])


def test_a_method_that_never_wins_has_no_finite_fit():
    assert bradley_terry(np.array([[0, 3, 4], [2, 0, 4], [0, 0, 0]], float)) is None


def test_strengths_come_from_the_answers_with_ties_as_halves():
    sides = [("x", "y"), ("y", "z"), ("z", "x")]
    answers = [
        pair(name, n, choice, sides[n])
        for name, choices in {"ann": "xyz", "bob": "xyx", "cid": ("x", None, "z")}.items()
        for n, choice in enumerate(choices)
    ]
    found = strengths(answers, ["x", "y", "z"], ["motion"])
    wins = np.array([[0, 3, 1], [0, 0, 2.5], [2, 0.5, 0]])
    assert [one.strength for one in found] == pytest.approx(list(bradley_terry(wins)))
    assert [one.answers for one in found] == [6, 6, 6]


def test_strengths_without_a_fit_are_absent_and_keep_their_counts():
    found = strengths([pair("ann", 0, "x"), pair("bob", 0, "x")], ["x", "y"], ["motion"])
    assert [(one.strength, one.participants, one.answers) for one in found] == [(None, None, 2)] * 2


@pytest.mark.parametrize(
    ("rows", "alpha"),
    [
        # K. Krippendorff, Computing Krippendorff's alpha-reliability (2011), parts A to C
        ([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]], 0.095),
        ([[0, 0, 1, 1, 3, 2, 2, 2, 4, 3, 3, 0], [1, 0, 1, 1, 1, 2, 2, 2, 4, 3, 3, 3]], 0.692),
        (
            [
                [1, 2, 3, 3, 2, 1, 4, 1, 2, M, M, M],
                [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, M, 3],
                [M, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, M],
                [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, M],
            ],
            0.743,
        ),
        # the example of the English Wikipedia's article on it
        (
            [
                [M, M, M, M, M, 3, 4, 1, 2, 1, 1, 3, 3, M, 3],
                [1, M, 2, 1, 3, 3, 4, 3, M, M, M, M, M, M, M],
                [M, M, 2, 1, 3, 4, 4, M, 2, 1, 1, 3, 3, M, 4],
            ],
            0.691,
        ),
    ],
)
def test_alpha_of_published_examples(rows, alpha):
    assert krippendorff_alpha(np.array(rows).T) == pytest.approx(alpha, abs=6e-4)


def test_alpha_and_the_published_kappa_of_complete_ratings_agree():
    """Fleiss' kappa of 14 raters and 10 subjects is 0.210; alpha corrects it for the sample."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    table = np.array([np.repeat(np.arange(5), row) for row in counts])
    kappa = 0.20993  # of that table, to more digits
    assert krippendorff_alpha(table) == pytest.approx(kappa + (1 - kappa) / 140, abs=1e-5)


def test_alpha_is_absent_where_nothing_can_differ():
    assert krippendorff_alpha(np.array([[0, 0], [0, 0]])) is None
    assert krippendorff_alpha(np.array([[0, M], [M, 1]])) is None
    assert krippendorff_alpha(np.full((3, 2), M)) is None


def test_agreement_is_told_apart_by_what_could_be_chosen():
    """Two pairs, chosen at random in each: together they would seem to agree."""
    draw = np.random.default_rng(0)
    answers = [
        pair(name, n, str(draw.choice(["a", "b"] if n < 20 else ["c", "d"])),
             ("a", "b") if n < 20 else ("c", "d"))
        for name in "pqrs" for n in range(40)
    ]  # fmt: skip
    found = agreements(answers, ["motion"])
    assert [one.methods for one in found] == [("a", "b"), ("c", "d")]
    for one in found:
        assert one.low < 0 < one.high
        assert (one.questions, one.answers) == (20, 80)


def test_full_agreement_is_one():
    answers = [pair(name, n, "xy"[n % 2]) for name in "pq" for n in range(4)]
    (found,) = agreements(answers, ["motion"])
    assert (found.alpha, found.low, found.high) == (1, 1, 1)
