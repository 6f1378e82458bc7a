"""One HTTP exchange that cannot last, grow or wander: a deadline, a cap of bytes, no redirects.

A server is trusted with nothing: it may hang, drip, send without end or lie about its lengths.
"""

import asyncio
import collections
import contextlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from dynamicrafter.errors import InputError

KEY_VARIABLE = "DYNAMICRAFTER_CAPTION_KEY"
CONNECT_S = 10.0
KEEP_S = 4.0  # an idle connection; less than the 5 s after which vLLM's server closes it
MESSAGE_CHARACTERS = 200


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Attributes:
        url: scheme, host, port and path before `/v1`; without a name or password.
        login: name and password that stood in the URL, or None.
    """

    url: str
    login: tuple[str, str] | None


@dataclass(frozen=True)
class Response:
    """A whole answer of a server.

    Attributes:
        status: 200 … 599.
        headers: names in lower case.
        body: at most as many bytes as were allowed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Failed(Exception):
    """An exchange without an answer.

    Attributes:
        reason: `timeout`, `unavailable` (no connection), `disconnected` (lost on the way) or
            `too_large`.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def address(url: str) -> Address:
    """Take a base URL apart; `/v1` at its end may be there or not.

    Raises:
        InputError: it is no http or https URL of a server.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        httpx.URL(url.strip())
    except (ValueError, httpx.InvalidURL):
        host, port = "", None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        shown = re.sub("//.*@", "//", url)
        raise InputError(f"{shown!r} is no server; write it like http://127.0.0.1:8000/v1")
    place = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    login = (parts.username, parts.password or "") if parts.username else None
    return Address(f"{parts.scheme}://{place}{f':{port}' if port else ''}{path}", login)


class Connections:
    """Connections to servers, kept open while they are in use.

    Each is an HTTP client of its own: a client with many looks through all of them, and through all
    again for each of them, whenever a request begins or ends.
    """

    def __init__(self, use_proxies: bool):
        """The API key comes from the environment, so that it can stand in no configuration.

        Raises:
            InputError: the key holds characters that no header can carry.
        """
        logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each request
        # a compressed answer could unfold to any size
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if key := os.environ.get(KEY_VARIABLE, "").strip():
            if not re.fullmatch("[!-~]+", key):
                raise InputError(f"{KEY_VARIABLE} holds characters that no HTTP header can carry")
            self._headers["Authorization"] = f"Bearer {key}"
        self._trust_env = use_proxies
        self._tls = httpx.create_ssl_context(trust_env=use_proxies)
        self._idle: dict[Address, list[httpx.AsyncClient]] = collections.defaultdict(list)
        self._all: list[httpx.AsyncClient] = []

    @contextlib.contextmanager
    def lend(self, to: Address) -> Iterator[httpx.AsyncClient]:
        """The connection to a server that was used last and is idle, or a new one."""
        idle = self._idle[to]
        client = idle.pop() if idle else self._new(to)
        try:
            yield client
        finally:
            idle.append(client)

    async def close(self) -> None:
        """Close all."""
        for client in self._all:
            await client.aclose()

    def _new(self, to: Address) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            headers=self._headers,
            auth=httpx.BasicAuth(*to.login) if to.login else None,
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=1, keepalive_expiry=KEEP_S),
            follow_redirects=False,
            trust_env=self._trust_env,
            verify=self._tls,
        )
        self._all.append(client)
        return client


async def exchange(
    connections: Connections,
    to: Address,
    path: str,
    content: bytes | None,
    seconds: float,
    max_bytes: int,
) -> Response:
    """POST `content`, or GET if it is None, and read the answer whole.

    Raises:
        Failed: there is no whole answer within `seconds` and `max_bytes`.
    """
    method = "GET" if content is None else "POST"
    headers = {} if content is None else {"Content-Type": "application/json"}
    try:
        with connections.lend(to) as client:
            async with (
                asyncio.timeout(seconds),
                client.stream(method, to.url + path, content=content, headers=headers) as answer,
            ):
                body = await _read(answer, max_bytes)
                return Response(answer.status_code, answer.headers, body)
    except TimeoutError:
        raise Failed("timeout", f"{to.url} gave no whole answer in {seconds:.0f} s") from None
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise Failed("unavailable", f"{to.url} cannot be reached: {plain(str(error))}") from None
    except (httpx.TransportError, OSError) as error:
        said = plain(str(error)) or type(error).__name__
        raise Failed("disconnected", f"{to.url} broke off: {said}") from None


async def _read(answer: httpx.Response, max_bytes: int) -> bytes:
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise Failed("too_large", f"an answer of {length[:20]} bytes; {max_bytes} are allowed")
    parts, size = [], 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size > max_bytes:
            raise Failed("too_large", f"an answer of more than {max_bytes} bytes")
        parts.append(part)
    return b"".join(parts)


def plain(text: str, most: int = MESSAGE_CHARACTERS) -> str:
    """A stranger's text for a line of ours: one line, no control characters, not long."""
    kept = (c if unicodedata.category(c)[0] != "C" else " " for c in text[: 4 * most])
    return " ".join("".join(kept).split())[:most]
