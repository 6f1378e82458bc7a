"""A model behind one or several OpenAI-compatible servers, vLLM above all.

Whatever a server does, a question ends within its limits: with a reply that its check found good,
with `NoReply`, or with an error that ends the run because asking on would be wrong or useless.

| what happens                                  | what is done                                |
|-----------------------------------------------|---------------------------------------------|
| no connection, lost, too slow, 3xx, 409, 5xx  | asked again after a while, `failures` times |
| 408, 425, 429, 503 with `Retry-After`         | asked again when it says, within the time   |
| no JSON, no choice, empty, cut, check says no | asked again at once, `tries` times          |
| 400, 413, 422                                 | `refused`: this question never fits         |
| 401, 403, 404 and other 4xx, another model    | the run ends, exit 2                        |
| no server is well for `wait_s`                | the run ends, exit 4                        |

All requests of a question are the same bytes. A reply's content type is not looked at, its content
is. The time in which a question waits for its turn at a server that is well does not count against
its own; `wait_s` bounds it.
"""

import asyncio
import collections
import json
import random
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from curation.captions.attempt import AskAgain, Attempts
from curation.captions.gate import Gate
from curation.captions.question import Check, NoReply, Question, Reply
from curation.captions.servers import Servers
from curation.captions.transport import Connections, address
from curation.captions.waits import wait_before
from dynamicrafter.errors import InputError, ToolkitError

CLOSE_S = 5.0


@dataclass(frozen=True)
class ClientSettings:
    """How servers are asked.

    Attributes:
        servers: base URLs, with or without `/v1`.
        model: name to ask for; None: the only one that a server lists.
        in_flight: requests at one server at once.
        timeout_s: of one request.
        clip_timeout_s: of all requests of one question and the pauses between them.
        tries: bad answers to one question before it is given up.
        failures: of servers over one question before it is given up.
        wait_s: how long all servers may be down before the run ends.
        max_reply_bytes: of one answer; a longer one is cut off as it comes.
        retry_base_s: the first pause after a failure is at most this; each next twice as long.
        retry_max_s: the longest pause, whatever a server asks for.
        use_proxies: take proxies and certificates that the environment names.
    """

    servers: list[str] = field(default_factory=list)
    model: str | None = None
    in_flight: int = 48
    timeout_s: float = 60.0
    clip_timeout_s: float = 300.0
    tries: int = 5
    failures: int = 10
    wait_s: float = 300.0
    max_reply_bytes: int = 1 << 20
    retry_base_s: float = 0.5
    retry_max_s: float = 30.0
    use_proxies: bool = False


class HttpModel:
    """A `Model` over HTTP. Requests run in a thread of their own; any thread may ask."""

    def __init__(self, settings: ClientSettings):
        """Look at all servers and wait until one is well.

        Raises:
            InputError: a setting is impossible, a server cannot be used, or two have different
                models.
            MachineError: none was well for `wait_s`.
        """
        _check(settings)
        self._settings = settings
        self._addresses = list(dict.fromkeys(address(url) for url in settings.servers))
        self._gate = Gate(self._limit)
        self._counts: collections.Counter[str] = collections.Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ended: ToolkitError | None = None
        self._is_closed = self._is_over = False
        self._asking = threading.Lock()
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(started)), name="captions", daemon=True
        )
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> str:
        """Name and revision, as the servers report them."""
        return self._servers.served.identity

    def counts(self) -> dict[str, int]:
        """So far: `requests`, `replies`, and `retries/REASON` for each reason to ask again."""
        return {"requests": 0, "replies": 0, **self._counts.copy()}

    def ask(self, question: Question, check: Check) -> "Future[Reply]":
        """Begin to ask; blocks while as much is in flight as the servers that are well may have.

        Must not be called from a callback of a future that it gave: that would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a question cannot be asked from the callback of another")
        name = json.dumps(self._servers.served.name).encode()
        content = question.canonical[:-1] + b',"model":' + name + b"}"
        self._gate.enter()
        with self._asking:
            if not self._is_over:
                return asyncio.run_coroutine_threadsafe(self._run(content, check), self._loop)
        failed: Future[Reply] = Future()
        failed.set_exception(self._end_of_all())
        return failed

    def close(self) -> None:
        """End all that is in flight; what still waits for a reply gets `NoReply`."""
        self._is_closed = True
        self._gate.open()
        try:
            self._loop.call_soon_threadsafe(self._stop.set)
        except (AttributeError, RuntimeError):  # it had not begun, or has ended
            return
        self._thread.join(CLOSE_S)

    def _limit(self) -> int:
        """Some more than can be at the servers, so that a free place is taken at once."""
        at_once = self._settings.in_flight
        return at_once * max(1, self._servers.up) + 2 + at_once // 8

    async def _main(self, started: "Future[None]") -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._is_closed:
            self._stop.set()
        try:
            connections = Connections(self._settings.use_proxies)
            try:
                await self._serve(connections, started)
            finally:
                await connections.close()
            if not started.done():
                started.set_exception(self._end_of_all())
        except BaseException as error:  # told to the thread that waits for it
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, connections: Connections, started: "Future[None]") -> None:
        wanted = self._settings
        self._servers = Servers(
            *(connections, self._addresses, wanted.model, wanted.in_flight, wanted.wait_s),
            *(self._gate.changed, self._end),
        )
        self._attempts = Attempts(connections, self._servers, wanted.max_reply_bytes)
        await self._until_stopped(self._servers.start())
        if not self._stop.is_set():
            started.set_result(None)
            await self._stop.wait()
        await self._finish()

    async def _until_stopped(self, start: Coroutine[Any, Any, None]) -> None:
        starting = asyncio.ensure_future(start)
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if starting.done():
            starting.result()
        starting.cancel()

    async def _finish(self) -> None:
        with self._asking:
            self._is_over = True
        self._servers.stop()
        for _ in range(2):  # what was asked a moment ago becomes a task, and begins
            await asyncio.sleep(0)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, error: ToolkitError) -> None:
        """The run cannot go on: everything that waits gets that error, and whatever is asked."""
        self._ended = self._ended or error
        self._gate.open()
        self._stop.set()

    def _end_of_all(self) -> Exception:
        if self._ended is not None:
            return type(self._ended)(str(self._ended))
        return NoReply("closed", "the client was closed", final=False)

    async def _run(self, content: bytes, check: Check) -> Reply:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self._ended or self._is_closed:
                raise self._end_of_all()
            return await self._until_good(content, check)
        except asyncio.CancelledError:
            if self._ended or self._is_closed:
                raise self._end_of_all() from None
            raise
        except ToolkitError as error:
            self._end(error)
            raise
        finally:
            self._tasks.discard(task)
            self._gate.leave()

    async def _until_good(self, content: bytes, check: Check) -> Reply:
        wanted, seen = self._settings, collections.Counter[str]()
        left = wanted.clip_timeout_s
        while True:
            server = await self._servers.acquire()
            began = time.monotonic()
            seen["requests"] += 1
            self._counts["requests"] += 1
            try:
                done = await self._attempts.once(
                    server, content, min(wanted.timeout_s, left), check
                )
            except AskAgain as why:
                again = why
            else:
                self._counts["replies"] += 1
                tokens = done.prompt_tokens, done.completion_tokens
                return Reply(done.content, seen["requests"], *tokens)
            finally:
                self._servers.release(server)
            self._counts[f"retries/{again.reason}"] += 1
            seen[again.kind] += 1
            if seen["bad"] >= wanted.tries or seen["failure"] >= wanted.failures:
                raise NoReply(again.reason, str(again), final=again.kind == "bad")
            pause = self._pause(again, seen["failure"] + seen["busy"])
            left -= time.monotonic() - began + pause
            if left <= 0:
                message = f"no good reply in {wanted.clip_timeout_s:.0f} s; at last: {again}"
                raise NoReply("timeout", message, final=False)
            if pause:
                self._gate.rest()
                try:
                    await asyncio.sleep(pause)
                finally:
                    self._gate.go_on()

    def _pause(self, again: AskAgain, failures: int) -> float:
        wanted = self._settings
        if again.kind == "bad":
            return 0.0
        if again.wait_s is None:
            return wait_before(failures, wanted.retry_base_s, wanted.retry_max_s)
        return min(again.wait_s, wanted.retry_max_s) + random.uniform(0.0, wanted.retry_base_s)


def _check(settings: ClientSettings) -> None:
    if not settings.servers:
        raise InputError("no server is named; set `servers` to a list like [http://host:8000/v1]")
    for name in ("in_flight", "tries", "failures", "max_reply_bytes"):
        if getattr(settings, name) < 1:
            raise InputError(f"{name}={getattr(settings, name)} must be 1 at least")
    for name in ("timeout_s", "clip_timeout_s", "wait_s", "retry_base_s", "retry_max_s"):
        if not 0 < getattr(settings, name) < float("inf"):
            raise InputError(f"{name}={getattr(settings, name)} must be a number above 0")
