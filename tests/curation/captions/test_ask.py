"""The conversation with a model: every way that it can take, without a model."""

import json
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass

import pytest

from curation.captions.ask import Rules, conversations, converse
from curation.captions.question import NoReply, Question, Reply
from dynamicrafter.errors import MachineError

MINDED = ("red", "beach")


@dataclass
class Value:
    value: float


@dataclass
class Ruling:
    passed: bool
    reason: str | None
    offending: tuple
    purity: Value


def judge(wording):
    """Minds two words, and wordings of one word."""
    words = wording.lower().strip(".").split()
    bad = tuple(word for word in words if word in MINDED)
    reason = "scene" if bad else "too_short" if len(words) < 2 else None
    return Ruling(reason is None, reason, bad, Value(1 - len(bad) / len(words)))


def strip(wording):
    left = [word for word in wording.strip(".").split() if word.lower() not in MINDED]
    return " ".join(left) + "." if left else "none"


def ask_again(question, answer, reason, words):
    told = {"answer": answer, "reason": reason, "words": list(words)}
    return Question({**question.body, "again": told})


RULES = Rules(judge, strip, ask_again)


def answer(subject="man", motion="running fast", **changes):
    whole = {
        "is_dynamic": True,
        "subject": subject,
        "motion": motion,
        "category": "human",
        "camera": "pan",
        "speed": "fast",
        "confidence": 88,
    }
    return json.dumps(whole | changes)


def held(*replies):
    """Hold a conversation with these answers; (questions, outcome)."""
    talk, asked = converse(Question({"clip": 0}), RULES), []
    try:
        asked.append(next(talk).body)
        for reply in replies:
            step = talk.throw if isinstance(reply, NoReply) else talk.send
            asked.append(step(reply).body)
    except StopIteration as end:
        return asked, end.value
    return asked, None


def test_a_good_answer_is_the_end():
    asked, words = held(answer())
    assert asked == [{"clip": 0}]
    assert (words.wording, words.confidence, words.category) == ("Man running fast.", 88, "human")
    assert (words.speed, words.camera, words.purity) == ("fast", "pan", 1.0)
    assert (words.reason, words.asked_again, words.stripped) == (None, False, False)


def test_a_refused_answer_is_asked_again_with_its_words():
    bad = answer(subject="red man", motion="running on beach")
    asked, words = held(bad, answer())
    told = {"answer": bad, "reason": "scene", "words": ["red", "beach"]}
    assert asked == [{"clip": 0}, {"clip": 0, "again": told}]
    assert (words.wording, words.asked_again, words.stripped) == ("Man running fast.", True, False)


def test_words_are_taken_out_of_what_is_refused_twice():
    asked, words = held(answer(subject="red man"), answer(subject="red men"))
    assert len(asked) == 2
    assert (words.wording, words.stripped, words.asked_again) == ("men running fast.", True, True)
    assert words.purity == 1.0


def test_what_cannot_be_mended_is_put_aside():
    _, words = held(answer(subject="red", motion="beach"), answer(subject="red", motion="beach"))
    assert (words.wording, words.category, words.confidence) == ("none", "none", None)
    assert (words.reason, words.final) == ("impure", True)
    assert (words.last_wording, words.offending) == ("Red beach.", ("red", "beach"))
    assert words.verdict == "scene"
    _, words = held(answer(subject="", motion="red"), answer(subject="", motion="running"))
    assert (words.reason, words.last_wording) == ("impure", "Running.")


def test_where_nothing_moves_there_is_none_and_no_gate():
    still = answer(subject="", motion="", is_dynamic=False, category="none", confidence=7)
    _, words = held(still)
    assert (words.wording, words.category, words.speed) == ("none", "none", "none")
    assert (words.confidence, words.camera, words.purity) == (7, "pan", None)
    assert words.reason is None
    _, words = held(answer(subject="red man"), still)
    assert (words.wording, words.reason, words.asked_again) == ("none", None, True)


@pytest.mark.parametrize("final", [True, False])
def test_no_reply_at_first(final):
    _, words = held(NoReply("not_json", "bad", final))
    assert (words.reason, words.final, words.wording) == ("not_json", final, "none")


def test_no_reply_at_second():
    """A final one leaves the first answer to be mended, a passing one is asked another day."""
    _, words = held(answer(subject="red man"), NoReply("too_long", "bad", True))
    assert (words.wording, words.stripped) == ("man running fast.", True)
    _, words = held(answer(subject="red man"), NoReply("timeout", "slow", False))
    assert (words.reason, words.final) == ("timeout", False)


class Scripted:
    """A model that answers when it is told to, in another order than it was asked."""

    identity = "scripted"

    def __init__(self, reply, at_once):
        self.reply, self.at_once = reply, at_once
        self.asked, self.most, self.waiting = Counter(), 0, []

    def ask(self, question, check):
        self.asked[question.digest] += 1
        future = Future()
        self.waiting.append((future, question))
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) >= self.at_once:
            self.settle()
        return future

    def settle(self):
        for future, question in reversed(self.waiting):
            found = self.reply(question)
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(Reply(found, 1, 10, 5))
        self.waiting = []


def test_many_conversations_at_once_lose_none():
    def reply(question):
        number = question.body["clip"]
        if "again" in question.body or number % 3:
            return answer(confidence=number)
        return answer(subject="red man", confidence=number)

    model = Scripted(reply, at_once=4)
    talks = ((n, converse(Question({"clip": n}), RULES)) for n in range(40))
    found = {}
    for tag, words in conversations(talks, model, ahead=4):
        assert tag not in found
        found[tag] = words
        if not model.asked:
            model.settle()
        if len(found) > 30:  # fewer are left than it waits for
            model.at_once = 1
            model.settle()
    assert sorted(found) == list(range(40))
    assert [found[n].confidence for n in range(40)] == list(range(40))
    assert [found[n].requests for n in range(4)] == [2, 1, 1, 2]
    assert found[0].tokens == (20, 10)
    assert model.most <= 4
    assert set(model.asked.values()) == {1}


def test_no_more_conversations_are_begun_than_are_allowed():
    begun = []

    def talks():
        for n in range(10):
            begun.append(n)
            yield n, converse(Question({"clip": n}), RULES)

    model = Scripted(lambda question: answer(), at_once=3)
    found = conversations(talks(), model, ahead=3)
    next(found)
    assert len(begun) == 3


def test_equal_questions_may_share_a_future():
    future = Future()
    future.set_result(Reply(answer(), 1, 0, 0))

    class Shared:
        identity = "shared"

        def ask(self, question, check):
            return future

    talks = [(n, converse(Question({"clip": 0}), RULES)) for n in range(3)]
    assert sorted(tag for tag, _ in conversations(iter(talks), Shared(), 8)) == [0, 1, 2]


def test_what_ends_a_run_is_passed_on():
    model = Scripted(lambda question: MachineError("no server is left"), at_once=1)
    with pytest.raises(MachineError):
        list(conversations(iter([(0, converse(Question({"clip": 0}), RULES))]), model, 4))
