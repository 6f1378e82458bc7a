"""Replies that are known already, on the disk and by content: no question is ever asked twice.

`CachedModel` puts a cache before any model. `ReplyCache` is a folder that many processes share:

    answers.sqlite               what everybody reads
    writer-HOST-PID-RANDOM.sqlite   what one process adds; it goes into the first when that closes

A file has one writer, so nobody waits for another's commit. What a killed process leaves behind is
taken in by the next that opens the folder. Files that may still be written (by a process that
lives, or of another machine) are read where they lie. There is no write-ahead log: it does not work
on network file systems.
"""

import contextlib
import hashlib
import os
import queue
import secrets
import socket
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import filelock

from curation.captions.answer import BadAnswer
from curation.captions.answers_file import AnswersFile, Known
from curation.captions.question import Check, Model, Question, Reply
from dynamicrafter.errors import InputError
from dynamicrafter.files import SECONDS_OF_DOUBT, sha256_bytes

SHARED = "answers.sqlite"
BATCH = 500  # replies in one commit at most
GATHER_S = 0.03  # between commits: looking up waits for the disk while one goes on
LOCK_S = 60.0  # to wait for another process that takes answers in
CLOSE_S = 20.0  # for taking in our own; the rest waits for the next that opens the folder

_own: set[str] = set()  # names of the files that this process writes


class ReplyCache:
    """A folder of good replies by identity of the model and digest of the question.

    Memory stays small at any number of replies: SQLite does the looking up. Any thread may use it.
    A damaged file is set aside, and costs its own replies.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        """Open the folder, and take in what killed processes left.

        Raises:
            InputError: the folder cannot be made or written.
        """
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder} cannot be the cache of captions: {error.strerror}"
            ) from None
        name = f"writer-{_host()}-{os.getpid()}-{secrets.token_hex(4)}.sqlite"
        _own.add(name)
        self._shared = AnswersFile(self._folder / SHARED)
        self._others: list[AnswersFile] = []
        self._take_leftovers()
        self._mine = AnswersFile(self._folder / name)
        self._written = AnswersFile(self._folder / name)  # looking up waits for no commit
        self._queue: queue.SimpleQueue[tuple[bytes, Known, Future[None]] | None]
        self._queue = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._is_closed = False
        self._writer = threading.Thread(target=self._write, name="reply cache", daemon=True)
        self._writer.start()

    def get(self, identity: str, digest: str) -> Known | None:
        """What is known: (text, prompt tokens, completion tokens), or None."""
        key = _key(identity, digest)
        for file in (self._written, self._shared, *self._others):
            if (known := file.get(key)) is not None:
                return known
        return None

    def put(
        self, identity: str, digest: str, text: str, prompt_tokens: int, completion_tokens: int
    ) -> "Future[None]":
        """Keep a good reply; the future is done when it is safe from a kill of this process.

        The future raises `MachineError` where the disk is full.
        """
        kept: Future[None] = Future()
        row = (_key(identity, digest), Known(text, prompt_tokens, completion_tokens), kept)
        with self._closing:
            if not self._is_closed:
                self._queue.put(row)
                return kept
        kept.set_result(None)  # the run ends; it is asked again another day
        return kept

    def close(self) -> None:
        """Commit what is waiting, and give it to the shared file."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self._queue.put(None)
        self._writer.join()
        self._written.close()
        with contextlib.suppress(filelock.Timeout), self._lock(CLOSE_S):
            self._mine.give_to(self._shared, time.monotonic() + CLOSE_S)
        for file in (self._mine, self._shared, *self._others):
            file.close()
        _own.discard(self._mine.path.name)

    def _write(self) -> None:
        while (row := self._queue.get()) is not None:
            time.sleep(GATHER_S)
            rows = [row]
            while len(rows) < BATCH and not self._queue.empty():
                if (more := self._queue.get()) is None:
                    self._queue.put(None)
                    break
                rows.append(more)
            try:
                self._mine.add([(key, known) for key, known, _ in rows])
            except Exception as error:  # noqa: BLE001  told to those who wait for it
                for *_, kept in rows:
                    kept.set_exception(error)
            else:
                for *_, kept in rows:
                    kept.set_result(None)

    def _take_leftovers(self) -> None:
        try:
            with self._lock(LOCK_S):
                for path in sorted(self._folder.glob("writer-*.sqlite")):
                    if _may_be_written(path):
                        self._others.append(AnswersFile(path, read_only=True))
                    else:
                        left = AnswersFile(path)
                        left.give_to(self._shared, float("inf"))
                        left.close()
        except filelock.Timeout:  # somebody takes them in just now
            return

    def _lock(self, seconds: float) -> filelock.BaseFileLock:
        return filelock.FileLock(self._folder / ".lock", timeout=seconds)


class CachedModel:
    """A model that asks nothing that is known, and nothing twice at once.

    Equal questions share one future, so their checks must be equal too. A reply is handed on when
    the cache has it on the disk. A known text that its check refuses is asked anew.
    """

    def __init__(self, model: Model, cache: ReplyCache):
        """Both are closed with this."""
        self._model, self._cache = model, cache
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[Reply]] = {}
        self._cached = 0

    @property
    def identity(self) -> str:
        """Of the model."""
        return self._model.identity

    @property
    def cached(self) -> int:
        """Questions so far that were answered without asking the model."""
        return self._cached

    def ask(self, question: Question, check: Check) -> "Future[Reply]":
        """As the model's own."""
        digest = question.digest
        future: Future[Reply] = Future()
        future.set_running_or_notify_cancel()  # it may be another's too: nobody can cancel it
        with self._lock:
            earlier = self._under_way.setdefault(digest, future)
            if earlier is not future:
                self._cached += 1
                return earlier
        try:
            known = self._known(digest, check)
            if known is None:
                asked = self._model.ask(question, check)
                asked.add_done_callback(lambda done: self._keep(digest, future, done))
                return future
        except BaseException as error:
            self._settle(digest, future, error)
            raise
        with self._lock:
            self._cached += 1
        self._settle(digest, future, known)
        return future

    def close(self) -> None:
        """Close the model, then the cache."""
        try:
            self._model.close()
        finally:
            self._cache.close()

    def _known(self, digest: str, check: Check) -> Reply | None:
        known = self._cache.get(self._model.identity, digest)
        if known is None:
            return None
        try:
            check(known.text)
        except BadAnswer:
            return None
        return Reply(known.text, 0, known.prompt_tokens, known.completion_tokens)

    def _keep(self, digest: str, future: "Future[Reply]", asked: "Future[Reply]") -> None:
        try:
            reply = asked.result()
            tokens = reply.prompt_tokens, reply.completion_tokens
            kept = self._cache.put(self._model.identity, digest, reply.text, *tokens)
        except BaseException as error:  # noqa: BLE001  told to those who asked
            self._settle(digest, future, error)
            return
        kept.add_done_callback(lambda done: self._settle(digest, future, done.exception() or reply))

    def _settle(self, digest: str, future: "Future[Reply]", outcome: Reply | BaseException) -> None:
        with self._lock:
            if self._under_way.pop(digest, None) is None:  # an interrupt settled it already
                return
        if isinstance(outcome, Reply):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)


def _key(identity: str, digest: str) -> bytes:
    return hashlib.sha256(f"{identity}\0{digest}".encode()).digest()


def _host() -> str:
    return sha256_bytes(socket.gethostname().encode())[:6]


def _may_be_written(path: Path) -> bool:
    """Whether somebody may still write a file; of another machine's, only its age can tell."""
    _, host, pid, *_ = f"{path.stem}---".split("-")
    try:
        if host != _host():
            return time.time() - path.stat().st_mtime < SECONDS_OF_DOUBT
        if int(pid) == os.getpid():
            return path.name in _own
        os.kill(int(pid), 0)
    except PermissionError:  # it lives, and is somebody else's
        return True
    except (OSError, ValueError):  # no such process, or no name of ours
        return False
    return True
