"""Signals that ask a training to stop: it finishes its step, saves, and ends.

SIGTERM and SIGINT (Ctrl-C), and SIGUSR1, which Slurm sends ahead of a time limit if asked to
(`--signal=USR1@120`). A second one interrupts at once, as elsewhere.
"""

import contextlib
import signal
from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """Whether somebody has asked to stop."""

    def __init__(self) -> None:
        self.made = False

    def __call__(self, signum: int, frame: object) -> None:
        """The handler of a signal."""
        if self.made:
            raise KeyboardInterrupt
        self.made = True


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Collect the signals inside the block."""
    request = StopRequest()
    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
