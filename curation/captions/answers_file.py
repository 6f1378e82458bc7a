"""One SQLite file of replies, which may be damaged, full or gone; nothing of that is fatal here."""

import contextlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from dynamicrafter.command import say
from dynamicrafter.errors import InputError, MachineError

PATIENCE_S = 30.0  # with another process that commits
ROWS = 5000  # taken over in one commit: readers wait for no longer than that
TABLE = (
    "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, text TEXT NOT NULL,"
    " prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL)"
)
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
T = TypeVar("T")


class Known(NamedTuple):
    """A reply that was found good once."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class AnswersFile:
    """A file of replies by key. It comes into being with the first reply; any thread may use it."""

    def __init__(self, path: Path, read_only: bool = False):
        """`read_only`: it is another's, who may write it just now."""
        self.path = path
        self._read_only = read_only
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._is_lost = False

    def get(self, key: bytes) -> Known | None:
        """The reply to a key, or None; also where the file is damaged."""

        def find(connection: sqlite3.Connection) -> Known | None:
            columns = "text, prompt_tokens, completion_tokens"
            row = connection.execute(f"SELECT {columns} FROM answers WHERE key = ?", (key,))
            found = row.fetchone()
            good = found and isinstance(found[0], str) and isinstance(found[1], int)
            return Known(*found) if good else None

        with self._lock:
            return self._try(find, may_make=False)

    def add(self, rows: list[tuple[bytes, Known]]) -> None:
        """Add replies, in one commit.

        Raises:
            MachineError: the disk is full, or the file system fails.
        """

        def write(connection: sqlite3.Connection) -> bool:
            with connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                    [(key, *known) for key, known in rows],
                )
            return True

        with self._lock:
            if not self._try(write, may_make=True):  # it was damaged, and is set aside now
                self._try(write, may_make=True)

    def give_to(self, other: "AnswersFile", until: float) -> None:
        """Copy all replies into `other`, commit by commit, then delete this file.

        Where the clock (`time.monotonic`) passes `until`, this file stays.
        """
        last = 0
        while (page := self._page(last)) is not None and page[1]:
            last, rows = page
            other.add(rows)
            if time.monotonic() > until:
                return
        if page is None:  # there is no such file, or it is damaged
            return
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._drop()

    def _page(self, after: int) -> tuple[int, list[tuple[bytes, Known]]] | None:
        """The replies that follow a row, and the last one's row; None as `get`."""

        def read(connection: sqlite3.Connection) -> tuple[int, list[tuple[bytes, Known]]]:
            rows = connection.execute(
                "SELECT rowid, key, text, prompt_tokens, completion_tokens FROM answers"
                " WHERE rowid > ? ORDER BY rowid LIMIT ?",
                (after, ROWS),
            ).fetchall()
            return rows[-1][0] if rows else after, [(row[1], Known(*row[2:])) for row in rows]

        with self._lock:
            return self._try(read, may_make=False)

    def _try(self, work: Callable[[sqlite3.Connection], T], may_make: bool) -> T | None:
        try:
            connection = self._open(may_make)
            return None if connection is None else work(connection)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if self._read_only:  # of no use now; the next run takes it in
                self._drop()
                self._is_lost = True
                return None
            if code in DAMAGE:
                self._set_aside(error)
                return None
            if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
                raise InputError(
                    f"{self.path} cannot be written ({error}); choose another folder for the cache"
                ) from None
            raise MachineError(
                f"{self.path} cannot be used ({error}); make room or choose another cache folder"
            ) from None

    def _open(self, may_make: bool) -> sqlite3.Connection | None:
        """The connection; None where there is no file and none may be made."""
        if self._connection is None:
            if self._is_lost or (not may_make and not self.path.exists()):
                return None
            uri = f"{self.path.absolute().as_uri()}?mode={'ro' if self._read_only else 'rwc'}"
            self._connection = sqlite3.connect(
                uri, uri=True, timeout=PATIENCE_S, check_same_thread=False
            )
            if not self._read_only:
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.execute(TABLE)
                self._inode = os.stat(self.path).st_ino
        return self._connection

    def _set_aside(self, error: Exception) -> None:
        """Make room for a new file, unless another process did so already."""
        self._drop()
        with contextlib.suppress(FileNotFoundError):
            if self._inode in (0, os.stat(self.path).st_ino):
                aside = self.path.with_name(f"{self.path.name}.damaged-{secrets.token_hex(4)}")
                os.replace(self.path, aside)
                self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
                say(f"{self.path} is damaged ({error}); it is set aside as {aside.name}")
        self._inode = 0

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
