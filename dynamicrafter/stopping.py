"""Signals that ask a training to stop: it finishes its step, saves, and ends. Loaders see none.

SIGTERM and SIGINT (Ctrl-C), and SIGUSR1, which Slurm sends ahead of a time limit if asked to
(`--signal=USR1@120`). A second one interrupts at once, as any does where no steps are taken.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker

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
    with _handled_by(request):
        yield request


@contextlib.contextmanager
def interrupting_signals() -> Iterator[None]:
    """Inside the block each of the signals interrupts at once; SIGUSR1 by itself would kill."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    with _handled_by(interrupt):
        yield


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, object], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Processes that are started inside the block never see the signals.

    They often go to all processes of a job: the trainer finishes its step with its loaders.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        resource_tracker.ensure_running()  # at its start it would unblock two of them
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
