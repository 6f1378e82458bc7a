"""The conversation with a model about one clip, and many such conversations at once.

    ask → check → gate ─ passed ──────────────────────────────→ done
                    └─ ask once more, with the words that are minded → gate ─ passed → done
                                       └─ take those words out → gate ─ passed → done
                                                                   └─ quarantine

A conversation is a generator that yields questions and is sent texts, so it can be tested without a
model and driven by anything. Whatever comes of it is data.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from curation.captions.answer import Answer, parse_answer, wording_of
from curation.captions.question import Model, NoReply, Question, Reply
from curation.clip import UNKNOWN

if TYPE_CHECKING:
    from curation.purity.gate import Verdict

Tag = TypeVar("Tag")


@dataclass(frozen=True)
class Words:
    """What came of a conversation.

    Attributes:
        wording: the motion caption; `none` where nothing moves or nothing good was said.
        confidence: 0 … 100 that something moves, None where nothing good was said.
        category: one of `CATEGORIES`.
        speed: one of `SPEEDS`, or `none`.
        camera: one of `CAMERAS`, or `none`.
        purity: of the wording, None where there is none.
        reason: why nothing good was said, else None: `impure`, or that of a `NoReply`.
        final: whether it is of no use to ask another day.
        asked_again: whether the model was asked once more.
        stripped: whether words were taken out.
        last_wording: what was refused last.
        verdict: the gate's word for why.
        offending: the words for which it was.
        requests: sent for it, now.
        known: replies that were known before.
        tokens: of the prompts and completions, as the server counts them.
    """

    wording: str = UNKNOWN
    confidence: int | None = None
    category: str = UNKNOWN
    speed: str = UNKNOWN
    camera: str = UNKNOWN
    purity: float | None = None
    reason: str | None = None
    final: bool = True
    asked_again: bool = False
    stripped: bool = False
    last_wording: str | None = None
    verdict: str | None = None
    offending: tuple[str, ...] = ()
    requests: int = 0
    known: int = 0
    tokens: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Rules:
    """Who judges a wording, takes words out of one, and asks once more.

    Attributes:
        judge: says whether a wording may stay.
        strip: a wording without the words that are minded; `none` if nothing is left.
        ask_again: the next question after (question, answer's text, reason, offending words).
    """

    judge: "Callable[[str], Verdict]"
    strip: Callable[[str], str]
    ask_again: Callable[[Question, str, str, tuple[str, ...]], Question]


def converse(question: Question, rules: Rules) -> Generator[Question, str, Words]:
    """The conversation about a clip: yields questions, is sent the texts of good answers.

    A `NoReply` is thrown in instead where there was no good answer. One that is final after the
    second question leaves the first answer, which is then treated as an answer of no use.
    """
    asked_again = False
    try:
        text = yield question
        answer = parse_answer(text)
        verdict = _judged(answer, rules)
        if verdict is not None and not verdict.passed:
            asked_again = True
            try:
                reason, words = verdict.reason or "impure", verdict.offending
                answer = parse_answer((yield rules.ask_again(question, text, reason, words)))
                verdict = _judged(answer, rules)
            except NoReply as error:
                if not error.final:
                    raise
    except NoReply as error:
        return Words(reason=error.reason, final=error.final, asked_again=asked_again)
    if verdict is None:
        return Words(
            confidence=answer.confidence,
            camera=answer.camera,
            asked_again=asked_again,
        )
    said = Words(
        wording=wording_of(answer),
        confidence=answer.confidence,
        category=answer.category,
        speed=answer.speed,
        camera=answer.camera,
        purity=verdict.purity.value,
        asked_again=asked_again,
    )
    if verdict.passed:
        return said
    left = rules.strip(said.wording)
    if left != UNKNOWN:
        again = rules.judge(left)
        if again.passed:
            return replace(said, wording=left, purity=again.purity.value, stripped=True)
    return Words(
        reason="impure",
        asked_again=asked_again,
        last_wording=said.wording,
        verdict=verdict.reason,
        offending=verdict.offending,
    )


def _judged(answer: Answer, rules: Rules) -> "Verdict | None":
    """The verdict on an answer's wording; None where nothing moves and there is none to judge."""
    return rules.judge(wording_of(answer)) if answer.is_dynamic else None


@dataclass
class _Open:
    """A conversation that waits for an answer."""

    tag: Any
    talk: Generator[Question, str, Words]
    requests: int = 0
    known: int = 0
    tokens: tuple[int, int] = (0, 0)


def conversations(
    talks: Iterable[tuple[Tag, Generator[Question, str, Words]]], model: Model, ahead: int
) -> Iterator[tuple[Tag, Words]]:
    """Hold many conversations at once and yield each one's end, in the order in which they end.

    Args:
        talks: tag and conversation of each clip; taken as there is room.
        model: who is asked.
        ahead: conversations that are open at most, which bounds the questions in memory.

    Raises:
        ToolkitError: what a model raises that ends a run.
    """
    waiting = iter(talks)
    running: dict[Future[Reply], list[_Open]] = {}  # equal questions may share a future
    ended: deque[tuple[Tag, Words]] = deque()

    def go_on(one: _Open, step: Callable[[], Question]) -> None:
        try:
            running.setdefault(model.ask(step(), parse_answer), []).append(one)
        except StopIteration as end:
            own = {"requests": one.requests, "known": one.known, "tokens": one.tokens}
            ended.append((one.tag, replace(end.value, **own)))

    more = True
    try:
        while more or running:
            while more and _count(running) < ahead and not any(f.done() for f in running):
                item = next(waiting, None)
                more = item is not None
                if item is not None:
                    one = _Open(*item)
                    go_on(one, lambda one=one: next(one.talk))
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                for one in running.pop(future):
                    go_on(one, _step(one, future))
            while ended:
                yield ended.popleft()
    finally:
        for future in running:
            future.cancel()


def _count(running: dict[Future[Reply], list[_Open]]) -> int:
    return sum(map(len, running.values()))


def _step(one: _Open, future: "Future[Reply]") -> Callable[[], Question]:
    try:
        reply = future.result()
    except NoReply as error:
        return lambda error=error: one.talk.throw(error)
    one.requests += reply.requests
    one.known += reply.requests == 0
    prompt, completion = one.tokens
    one.tokens = (prompt + reply.prompt_tokens, completion + reply.completion_tokens)
    return lambda: one.talk.send(reply.text)
