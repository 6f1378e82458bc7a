"""What a chat completion says, as the body of an HTTP answer holds it; hostile until looked at."""

import json
from dataclasses import dataclass
from typing import Any

from curation.captions.answer import BadAnswer
from curation.captions.transport import plain


@dataclass(frozen=True)
class Completion:
    """The parts of a completion that matter here.

    Attributes:
        model: name of the model that answered; None if it is not said.
        fingerprint: `system_fingerprint`, likewise.
        finish: why the model stopped, in the server's word.
        content: what the model wrote, perhaps nothing.
        prompt_tokens: 0 if the server does not count them.
        completion_tokens: likewise.
    """

    model: str | None
    fingerprint: str | None
    finish: str | None
    content: str
    prompt_tokens: int
    completion_tokens: int


def read_json(body: bytes) -> Any:
    """The JSON value of a body.

    Raises:
        BadAnswer: `bad_body`, it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(
            "bad_body", f"the server's answer is no JSON: {plain(str(error))}"
        ) from None


def read_completion(body: bytes) -> Completion:
    """Take a body apart, whatever its content type says.

    Raises:
        BadAnswer: `bad_body`, it is no chat completion with one choice at least.
    """
    found = read_json(body)
    choices = found.get("choices") if isinstance(found, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise BadAnswer("bad_body", "the server's answer is no chat completion")
    usage = found.get("usage")
    return Completion(
        _text(found.get("model")),
        _text(found.get("system_fingerprint")),
        _text(choice.get("finish_reason")),
        _text(message.get("content")) or "",
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
    )


def written(completion: Completion) -> str:
    """What the model wrote, to its end.

    Raises:
        BadAnswer: `cut_off` (by the limit of tokens), `unfinished` (stopped by something else),
            `empty` or `control_characters` (half a surrogate pair, which no file can hold).
    """
    if completion.finish == "length":
        raise BadAnswer("cut_off", "the answer is cut off; raise max_tokens if this is frequent")
    if completion.finish != "stop":
        raise BadAnswer("unfinished", f"the answer ended by {plain(str(completion.finish), 40)!r}")
    if not completion.content.strip():
        raise BadAnswer("empty", "the answer is empty")
    try:
        completion.content.encode()
    except UnicodeEncodeError:
        raise BadAnswer("control_characters", "the answer holds half a character") from None
    return completion.content


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
