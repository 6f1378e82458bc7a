"""A model in a process beside this one: vLLM out of an environment of its own, without a server.

| what happens                                     | what is done                             |
|--------------------------------------------------|------------------------------------------|
| the prompt is too long, a picture is no picture  | `refused`: this question never fits      |
| no JSON, cut off, the check says no              | `NoReply` at once, see `EngineModel`     |
| the process dies, or answers nothing for a while | started anew, what it had is asked again |
| that twice with no answer between                | the run ends, exit 4                     |
| that twice during one question                   | `crashed`: the others go on              |
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from curation.captions.answer import BadAnswer
from curation.captions.completion import Completion, written
from curation.captions.engine_settings import (
    EngineSettings,
    arguments_of,
    check_settings,
    digest_of_folder,
    identity_of,
)
from curation.captions.question import Check, NoReply, Question, Reply
from curation.captions.transport import plain
from dynamicrafter.errors import InputError, MachineError, ToolkitError

WORKER = Path(__file__).with_name("engine_worker.py")
LIVES = 2
LOOK_S, END_S = 0.25, 5.0
LINE_BYTES = 1 << 24  # of an answer


@dataclass
class _Asked:
    body: dict[str, Any]
    check: Check
    future: "Future[Reply]"
    lives: int = 0  # of the process in which it was asked


class EngineModel:
    """A `Model` over vLLM in a process. A thread of its own feeds it; any thread may ask.

    A bad answer is final at once: the process gives the same question much the same answer, so
    asking again, which helps against a server behind a network, makes no sense here. (Answers can
    differ in the last bits of the logits with what else is in the batch; the cache of answers is
    what makes a run repeatable to the letter.)
    """

    def __init__(self, settings: EngineSettings):
        """Load the model, which takes a minute or several.

        Raises:
            InputError: a setting is impossible, there is no such interpreter or model.
            MachineError: the process died or was not ready in time.
        """
        check_settings(settings)
        self._settings = settings
        self._files = digest_of_folder(settings.model or "")
        self._slots = threading.Semaphore(settings.in_flight)
        self._asking = threading.Lock()
        self._waiting: dict[int, _Asked] = {}
        self._numbers = itertools.count()
        self._ended: Exception | None = None
        self._is_closed = False
        self._process: asyncio.subprocess.Process | None = None
        self._outbox: asyncio.Queue[int] = asyncio.Queue()
        self._identity = ""
        self._loop = asyncio.new_event_loop()
        # The process is told to die with the thread that started it: this one lives to the end.
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()
        try:
            self._do(self._start()).result()
        except BaseException:
            self.close()
            raise
        self._do(self._live())

    @property
    def identity(self) -> str:
        """Name, digest or revision of the weights, their type, and vLLM's version."""
        return self._identity

    def ask(self, question: Question, check: Check) -> "Future[Reply]":
        """Begin to ask; blocks while `in_flight` questions are in the process."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("a question cannot be asked from the callback of another")
        self._slots.acquire()
        future: Future[Reply] = Future()
        future.add_done_callback(lambda _: self._slots.release())
        with self._asking:
            if not self._is_closed:
                asked = _Asked(question.body, check, future)
                self._loop.call_soon_threadsafe(self._put, asked)
                return future
        future.set_exception(self._end_of_all())
        return future

    def close(self) -> None:
        """End the process and all that is in flight; what still waits gets `NoReply`."""
        with self._asking:
            if self._is_closed:
                return
            self._is_closed = True
        self._do(self._stop()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    # What follows runs in the loop's thread alone.

    async def _start(self) -> None:
        """Start the process and wait until the model is loaded."""
        wanted = self._settings
        Path(wanted.log).parent.mkdir(parents=True, exist_ok=True)
        with open(wanted.log, "ab") as log:
            process = await _spawn(wanted.python, log)
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_line(arguments_of(wanted)))
        try:
            line = await asyncio.wait_for(process.stdout.readline(), wanted.start_s)
        except TimeoutError:
            raise MachineError(
                f"vLLM did not load {wanted.model} in {wanted.start_s:g} s, see {wanted.log}; "
                "raise start_s"
            ) from None
        if not line:
            code = await process.wait()
            raise MachineError(
                f"vLLM ended with {code} as it loaded {wanted.model}: {self._last()}"
            )
        found = json.loads(line)
        if "failed" in found:
            raise InputError(
                f"vLLM cannot load {wanted.model}: {plain(found['failed'])}; see {wanted.log}"
            )
        self._identity = identity_of(wanted, self._files, found["ready"])

    async def _live(self) -> None:
        """Serve until closed, with a new process where one ends."""
        fruitless = 0
        try:
            while True:
                trouble, answers = await self._serve()
                fruitless = 1 if answers else fruitless + 1
                await self._kill(0.0)
                message = f"vLLM {trouble}: {self._last()}"
                if fruitless == LIVES:
                    raise MachineError(f"{message}; it did so {LIVES} times without an answer")
                self._give_up_some(message)
                await self._start()
        except Exception as error:  # noqa: BLE001  told to those who wait, and who will ask
            self._ended = error
            await self._kill(0.0)
        self._end_waiting()

    async def _serve(self) -> tuple[str, int]:
        """Pass questions and answers on; returns what ended it, and how many answers there were."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._outbox = asyncio.Queue()
        for number in list(self._waiting):
            self._outbox.put_nowait(number)
        writing = asyncio.ensure_future(self._write())
        reading = asyncio.ensure_future(self._process.stdout.readline())
        answers, sign = 0, time.monotonic()
        try:
            while True:
                await asyncio.wait({reading}, timeout=LOOK_S)
                now = time.monotonic()
                if reading.done():
                    if not reading.result():
                        return f"ended with {await self._process.wait()}", answers
                    self._take(json.loads(reading.result()))
                    answers, sign = answers + 1, now
                    reading = asyncio.ensure_future(self._process.stdout.readline())
                elif not self._waiting:
                    sign = now
                elif now - sign > self._settings.timeout_s:
                    return f"answered nothing for {self._settings.timeout_s:g} s", answers
        finally:
            writing.cancel()
            reading.cancel()

    async def _write(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # the reader sees the end, too
            while True:
                number = await self._outbox.get()
                if asked := self._waiting.get(number):
                    asked.lives += 1
                    self._process.stdin.write(_line({"number": number, "body": asked.body}))
                    await self._process.stdin.drain()

    def _put(self, asked: _Asked) -> None:
        if self._ended or self._is_closed:
            _fail(asked.future, self._end_of_all())
            return
        number = next(self._numbers)
        self._waiting[number] = asked
        asked.future.add_done_callback(lambda _: self._waiting.pop(number, None))
        self._outbox.put_nowait(number)

    def _take(self, answer: dict[str, Any]) -> None:
        asked = self._waiting.get(answer["number"])
        if asked is None:  # it was cancelled
            return
        try:
            reply = _reply(answer, asked)
        except NoReply as error:
            _fail(asked.future, error)
        else:
            if asked.future.set_running_or_notify_cancel():
                asked.future.set_result(reply)

    def _give_up_some(self, message: str) -> None:
        """What saw the process end twice may be what ends it."""
        for asked in list(self._waiting.values()):
            if asked.lives >= LIVES:
                _fail(asked.future, NoReply("crashed", message, final=False))

    def _end_waiting(self) -> None:
        for asked in list(self._waiting.values()):
            _fail(asked.future, self._end_of_all())

    def _end_of_all(self) -> Exception:
        if isinstance(self._ended, ToolkitError):
            return type(self._ended)(str(self._ended))
        return self._ended or NoReply("closed", "the engine was closed", final=False)

    async def _stop(self) -> None:
        here = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not here]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._end_waiting()
        await self._kill(END_S)

    async def _kill(self, grace_s: float) -> None:
        """End the process and all that it started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            if grace_s:
                self._process.terminate()
                await asyncio.wait_for(self._process.wait(), grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def _last(self) -> str:
        """The last line of the log."""
        with open(self._settings.log, "rb") as log:
            log.seek(max(os.fstat(log.fileno()).st_size - 4096, 0))
            lines = log.read().decode(errors="replace").split("\n")
        said = next((plain(line) for line in reversed(lines) if plain(line)), "it said nothing")
        return f"{said}; see {self._settings.log}"


async def _spawn(python: str, log: IO[bytes]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    try:
        return await asyncio.create_subprocess_exec(
            *(python, "-P", str(WORKER)),  # -P: this folder's modules are no modules there
            stdin=pipe,
            stdout=pipe,
            stderr=log,
            limit=LINE_BYTES,
            start_new_session=True,  # no Ctrl-C of a terminal, and one group to end
        )
    except OSError as error:
        raise InputError(
            f"{python} cannot be run ({error.strerror}); `make setup-vllm` makes an environment "
            "with vLLM, set captioner.engine.python to its interpreter"
        ) from None


def _reply(answer: dict[str, Any], asked: _Asked) -> Reply:
    """What an answer says.

    Raises:
        NoReply: nothing good.
    """
    if "refused" in answer:
        raise NoReply("refused", plain(answer["refused"]), final=True)
    tokens = answer["prompt_tokens"], answer["completion_tokens"]
    try:
        text = written(Completion(None, None, answer["finish"], answer["text"], *tokens))
        asked.check(text)
    except BadAnswer as error:
        raise NoReply(error.reason, str(error), final=True) from None
    return Reply(text, asked.lives, *tokens)


def _fail(future: "Future[Reply]", error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
