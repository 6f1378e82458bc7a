"""Which model a server has, as it says itself; what a caption is on record as made by."""

from dataclasses import dataclass
from typing import Any

from curation.captions.answer import BadAnswer
from curation.captions.completion import read_json
from curation.captions.transport import (
    KEY_VARIABLE,
    Address,
    Connections,
    Failed,
    Response,
    exchange,
    plain,
)
from dynamicrafter.errors import InputError

LOOK_S = 5.0  # for one look at a server
LOOK_BYTES = 1 << 20
OVERLOADED = (408, 425, 429)


@dataclass(frozen=True)
class Served:
    """A model as a server reports it.

    Attributes:
        name: to ask for.
        identity: name, where its weights lie for the server, revision and version of the server, as
            far as it tells.
        aliases: names under which its replies may come.
    """

    name: str
    identity: str
    aliases: frozenset[str]


async def look(connections: Connections, at: Address, model: str | None) -> Served:
    """Ask a server whether it is well and what it serves; None: the only model that it lists.

    A server without `/health` or `/version` (only vLLM has both) is as good as one with them.

    Raises:
        Failed: it is not well.
        InputError: it wants a key, is no such server, or has no such model.
    """
    health = await exchange(connections, at, "/health", None, LOOK_S, LOOK_BYTES)
    _refuse_ill(at, health)
    models = await exchange(connections, at, "/v1/models", None, LOOK_S, LOOK_BYTES)
    _refuse_ill(at, models)
    if models.status != 200:
        raise refusal(at, "/v1/models", models)
    version = await exchange(connections, at, "/version", None, LOOK_S, LOOK_BYTES)
    _refuse_ill(at, version)
    return choose(at, _listed(at, models.body), model, _version(version))


def choose(
    at: Address, listed: dict[str, dict[str, Any]], model: str | None, version: str | None
) -> Served:
    """The model that is meant among those that a server lists.

    Raises:
        InputError: it is not there, or none is named and there are several.
    """
    names = plain(", ".join(listed)) or "nothing"
    if model is None and len(listed) != 1:
        raise InputError(f"{at.url} serves {names}; name one of them as `model`")
    name = next(iter(listed)) if model is None else model
    if name not in listed:
        raise InputError(f"{at.url} has no model {name!r}, it serves {names}; name one as `model`")
    root, revision = (_text(listed[name].get(field)) for field in ("root", "revision"))
    same = {other for other, entry in listed.items() if root and _text(entry.get("root")) == root}
    parts = [
        plain(name),
        *([f"from {plain(root)}"] if root and root != name else []),
        *([f"revision {plain(revision)}"] if revision else []),
        *([f"server {plain(version)}"] if version else []),
    ]
    return Served(name, ", ".join(parts), frozenset({name, root or name} | same))


def refusal(at: Address, path: str, response: Response) -> InputError:
    """The error for a status that says that the whole request is wrong, not one question."""
    url, status = at.url + path, response.status
    if status in (401, 403):
        return InputError(f"{url} answers {status}; put the server's key into {KEY_VARIABLE}")
    if 300 <= status < 400:
        to = plain(response.headers.get("location", "elsewhere"))
        return InputError(f"{url} redirects to {to}; set `servers` to where the server itself is")
    said = message_of(response.body)
    if status == 404:
        return InputError(f"{url} answers 404 ({said}); set `servers` and `model` to what is there")
    return InputError(f"{url} answers {status} ({said}); is it an OpenAI-compatible server?")


def message_of(body: bytes) -> str:
    """The server's own words for what is wrong, fit for one line."""
    try:
        found = read_json(body)
    except BadAnswer:
        return plain(body[:4000].decode(errors="replace"))
    error = found.get("error", found) if isinstance(found, dict) else found
    told = error.get("message") if isinstance(error, dict) else error
    return plain(told if isinstance(told, str) else str(found)[:4000])


def _refuse_ill(at: Address, response: Response) -> None:
    unknown = response.status == 501  # it does not have this address, which is no illness
    if response.status in OVERLOADED or (response.status >= 500 and not unknown):
        raise Failed("unavailable", f"{at.url} answers {response.status} when it is looked at")


def _listed(at: Address, body: bytes) -> dict[str, dict[str, Any]]:
    try:
        found = read_json(body)
    except BadAnswer:
        raise Failed("unavailable", f"{at.url} lists its models in no JSON") from None
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise Failed("unavailable", f"{at.url} does not list its models")
    entries = [row for row in rows if isinstance(row, dict)]
    return {entry["id"]: entry for entry in entries if _text(entry.get("id"))}


def _version(response: Response) -> str | None:
    try:
        found = read_json(response.body) if response.status == 200 else None
    except BadAnswer:
        return None
    return _text(found.get("version")) if isinstance(found, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
