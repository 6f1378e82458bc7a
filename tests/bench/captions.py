"""How busy the caption client keeps a server, and what a question costs this machine.

The server takes 200 ms for each question and has 32 slots; what comes beyond them waits in line. It
runs in another process and looks at nothing but lengths, so that the client is what is measured.

    python -m tests.bench.captions        the figures, with CPU seconds a question
"""

import asyncio
import base64
import collections
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from curation.captions.cache import CachedModel, ReplyCache
from curation.captions.client import ClientSettings, HttpModel
from curation.captions.question import Question
from tests.bench.timing import Row

SLOTS, SERVICE_S = 32, 0.2
QUESTIONS, WARM = 1600, 64
FRAMES, FRAME_BYTES = 16, 14_000  # some 0.3 MB a question as base64
IN_FLIGHT = 48
ANSWER = '{"is_dynamic":false}'


@dataclass(frozen=True)
class Figures:
    """Of one run.

    Attributes:
        rate: questions per second, without those that fill and empty the slots.
        cpu_s: seconds of this process a question.
    """

    rate: float
    cpu_s: float


def rows() -> list[Row]:
    """Questions per second beside what the slots could do."""
    figures = measure()
    label = f"caption client, {SLOTS} slots of {SERVICE_S:.1f} s, 0.3 MB a question"
    ideal = SLOTS / SERVICE_S
    return [
        Row(label, figures.rate, "questions", "slots without a gap", ideal),
        Row("caption client's CPU, one thread", 1 / figures.cpu_s, "questions"),
    ]


def measure() -> Figures:
    """Ask, with a cache before the model as curation does."""
    with serving() as url, tempfile.TemporaryDirectory() as folder:
        settings = ClientSettings([url], in_flight=IN_FLIGHT)
        model = CachedModel(HttpModel(settings), ReplyCache(folder))
        try:
            ask(model, 0, WARM)
            began, used = time.perf_counter(), time.process_time()
            ask(model, WARM, QUESTIONS)
            seconds, used = time.perf_counter() - began, time.process_time() - used
        finally:
            model.close()
    return Figures(QUESTIONS / seconds, used / QUESTIONS)


def ask(model: CachedModel, first: int, count: int) -> None:
    """Ask so many different questions from this thread, and wait for all replies."""
    asked = [model.ask(question(number), str) for number in range(first, first + count)]
    for future in asked:
        assert future.result().text == ANSWER


def question(number: int) -> Question:
    """One clip's frames as pictures; only the first differs, so that making it costs little."""
    frames = [PICTURES[(number + k) % len(PICTURES)] for k in range(FRAMES)]
    content = [{"type": "image_url", "image_url": {"url": frame}} for frame in frames]
    text = {"type": "text", "text": f"What moves in clip {number}?"}
    return Question({"messages": [{"role": "user", "content": [text, *content]}]})


def _pictures() -> list[str]:
    return [
        "data:image/jpeg;base64," + base64.b64encode(os.urandom(FRAME_BYTES)).decode()
        for _ in range(2 * FRAMES)
    ]


PICTURES = _pictures()


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The URL of a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def _serve(told: Connection) -> None:
    async def main() -> None:
        slots = Slots()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Protocol(slots), "127.0.0.1", 0, backlog=256)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


class Slots:
    """Works at so many requests at once, first come, first served."""

    def __init__(self) -> None:
        self._free = SLOTS
        self._line: collections.deque[_Protocol] = collections.deque()

    def take(self, asker: "_Protocol") -> None:
        """A request has come whole."""
        if not self._free:
            self._line.append(asker)
            return
        self._free -= 1
        asyncio.get_running_loop().call_later(SERVICE_S, self._done, asker)

    def _done(self, asker: "_Protocol") -> None:
        asker.answer(COMPLETION)
        self._free += 1
        if self._line:
            self.take(self._line.popleft())


class _Protocol(asyncio.Protocol):
    """As much of HTTP as one known client needs."""

    def __init__(self, slots: Slots):
        self._slots = slots
        self._head, self._left, self._path = b"", 0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, rest = self._head[:end].lower(), len(self._head) - end - 4
            self._path, self._head = head.split(b" ", 2)[1], b""
            _, found, after = head.partition(b"content-length:")
            self._left = int(after.split(b"\r\n", 1)[0]) - rest if found else 0
        if self._left == 0:
            self._whole()

    def answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)

    def _whole(self) -> None:
        if self._path == b"/v1/chat/completions":
            self._slots.take(self)
        else:
            self.answer(MODELS if self._path == b"/v1/models" else b'{"version": "0"}')


MODELS = json.dumps({"data": [{"id": "fixed", "root": "fixed"}]}).encode()
COMPLETION = json.dumps(
    {
        "model": "fixed",
        "choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1200, "completion_tokens": 60},
    }
).encode()


def main() -> None:
    """Say the figures and the load of the machine, which they depend on."""
    figures = measure()
    share = figures.rate / (SLOTS / SERVICE_S)
    sys.stdout.write(
        f"{figures.rate:.1f} questions/s, {share:.3f} of the slots' rate; "
        f"{figures.cpu_s * 1000:.2f} ms CPU a question; load {os.getloadavg()[0]:.1f} "
        f"on {os.cpu_count()} cores; {Path(sys.executable).name}\n"
    )


if __name__ == "__main__":
    main()
