"""How many questions may be under way: where the threads that ask are held back."""

import threading
from collections.abc import Callable

RESTING = 3  # times the limit of those that are asked may rest before they are asked again


class Gate:
    """Counts questions that are asked and those that rest between two requests."""

    def __init__(self, limit: Callable[[], int]):
        """`limit()` is how many may be asked at once; call `changed` when it may have grown."""
        self._limit = limit
        self._asked = self._resting = 0
        self._is_open = False
        self._change = threading.Condition()

    def enter(self) -> None:
        """Wait for room and take it."""
        with self._change:
            self._change.wait_for(self._has_room)
            self._asked += 1

    def leave(self) -> None:
        """Give the room back."""
        with self._change:
            self._asked -= 1
            self._change.notify()

    def rest(self) -> None:
        """A question that is inside makes room for another for a while."""
        with self._change:
            self._asked, self._resting = self._asked - 1, self._resting + 1
            self._change.notify()

    def go_on(self) -> None:
        """It is asked again, room or not."""
        with self._change:
            self._asked, self._resting = self._asked + 1, self._resting - 1

    def changed(self) -> None:
        """Look at the limit again."""
        with self._change:
            self._change.notify_all()

    def open(self) -> None:
        """Hold nobody back any more."""
        with self._change:
            self._is_open = True
            self._change.notify_all()

    def _has_room(self) -> bool:
        limit = self._limit()
        return self._is_open or (self._asked < limit and self._resting < RESTING * limit)
