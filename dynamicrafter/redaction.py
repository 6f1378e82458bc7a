"""Secrets stay in the environment: what is written anywhere passes through here first.

Two rules. A value of an environment variable whose name speaks of a secret is replaced wherever it
occurs in a text. A configuration key whose last part names a secret has its value replaced, so that
a key typed on the command line by mistake is not saved either.
"""

import os
import re
from typing import Any

MASK = "[redacted]"
SHORTEST_SECRET = 6  # characters; shorter values would mask ordinary words

_SECRET_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_SECRET_SETTING = re.compile(
    r"(^|[._-])(api[_-]?key|access[_-]?key|key|token|secret|password|passwd|authorization)$",
    re.IGNORECASE,
)
_ASSIGNMENT = re.compile(r"^(?P<name>[+~]*[\w./@-]+)=(?P<value>.*)$", re.DOTALL)
_SECRET_IN_TEXT = re.compile(
    r"((?:\b|_)(?:api[_-]?key|access[_-]?key|token|secret|password|passwd|authorization)"
    r"[\"']?\s*[=:]\s*[\"']?)(?!\[redacted\])[^\s,\"'\]}]+",
    re.IGNORECASE,
)
_CREDENTIALS_IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def redact_text(text: str) -> str:
    """`text` without secrets: values of the environment, `api_key=…`, credentials in URLs."""
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, MASK)
    text = _SECRET_IN_TEXT.sub(rf"\1{MASK}", text)
    return _CREDENTIALS_IN_URL.sub(MASK, text)


def redact(value: Any) -> Any:
    """A JSON-like value with every secret masked, by content and by the name of its key."""
    if isinstance(value, dict):
        return {
            key: MASK if item and _SECRET_SETTING.search(str(key)) else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value


def redact_arguments(arguments: list[str]) -> list[str]:
    """A command line with every secret masked, `name=value` settings included."""
    clean = []
    for argument in arguments:
        setting = _ASSIGNMENT.match(argument)
        if setting and _SECRET_SETTING.search(setting["name"]):
            argument = f"{setting['name']}={MASK}"
        clean.append(redact_text(argument))
    return clean
