"""A question to a model and what comes back, whoever carries it there.

A question is plain data, so that equal questions have equal digests and an answer is a function of
its question. The body is that of an OpenAI-compatible chat completion, without the model's name.
"""

import functools
import json
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from dynamicrafter.files import sha256_bytes


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        body: `messages`, `response_format`, sampling (`temperature`, `max_tokens`, `seed`) and
            whatever else the server takes, but no `model`.
    """

    body: dict[str, Any]

    @functools.cached_property
    def canonical(self) -> bytes:
        """The body as JSON in the form of `sha256_json`; made once, since pictures are long."""
        text = json.dumps(
            self.body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()

    @functools.cached_property
    def digest(self) -> str:
        """64 hex digits; equal ones mean equal questions."""
        return sha256_bytes(self.canonical)


@dataclass(frozen=True)
class Reply:
    """What came back and was found good.

    Attributes:
        text: of the model.
        requests: sent for it, now; 0: it was known.
        prompt_tokens: as the server counts them; 0 if it does not.
        completion_tokens: likewise.
    """

    text: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


class NoReply(Exception):
    """A question that got no good reply within its limits; `reason` is put on record.

    `final` tells that the model did answer, and badly each time: asking again another day is of no
    use. Otherwise (`timeout`, `unavailable`) the next run asks again.
    """

    def __init__(self, reason: str, message: str, final: bool):
        super().__init__(message)
        self.reason, self.final = reason, final


class Check(Protocol):
    """Raises `BadAnswer` where a text is no good answer."""

    def __call__(self, text: str) -> Any:
        """What the text says."""


class Model(Protocol):
    """A model that can be asked, over HTTP or in a process beside this one."""

    @property
    def identity(self) -> str:
        """Name and revision, as the server reports them; what a caption was made by."""
        ...

    def ask(self, question: Question, check: Check) -> "Future[Reply]":
        """Begin to ask; blocks while as much is in flight as may be.

        The future raises `NoReply`, or an error of the toolkit that ends the run: `InputError` (the
        server refuses what is asked, or has another model now), `MachineError` (no server is left).
        """
        ...

    def close(self) -> None:
        """End all that is in flight."""
        ...
