"""All numbers of a group of participants: everybody, or those who were attentive."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eval.study.agreement import Agreement, agreements
from eval.study.answers import Answer
from eval.study.preferences import Duel, Share, Strength, duels, shares, strengths


@dataclass(frozen=True)
class Group:
    """The numbers of a group of participants.

    Attributes:
        name: who they are, in words.
        participants: how many.
        answers: how many they gave, attention checks aside.
        shares: preference shares.
        duels: win rates of two methods side by side.
        strengths: Bradley-Terry strengths, of three methods or more.
        agreement: between the participants.
        first_side: how often the first video was chosen, of the answers that chose one.
    """

    name: str
    participants: int
    answers: int
    shares: list[Share]
    duels: list[Duel]
    strengths: list[Strength]
    agreement: list[Agreement]
    first_side: tuple[int, int]


def score(answers: Sequence[Answer], key: dict[str, Any], name: str) -> Group:
    """All numbers of the answers of a group of participants."""
    methods, aspects = key["methods"], key["aspects"]
    several = key["compare"] == "pairs" and len(methods) > 2
    decided = [one for one in answers if one.choice is not None]
    return Group(
        name,
        len({one.participant for one in answers}),
        len(answers),
        shares(answers, methods, aspects),
        duels(answers, methods, aspects),
        strengths(answers, methods, aspects) if several else [],
        agreements(answers, aspects),
        (sum(one.choice == one.sides[0] for one in decided), len(decided)),
    )
