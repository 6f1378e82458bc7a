"""Progress of long work: a bar with rate and time left on a terminal, a line now and then in a log.

with progress("measure", total=len(spans), unit="spans") as advance:
    for span in spans:
        ...
        advance(1)
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

SECONDS_BETWEEN_LINES = 15.0


@contextlib.contextmanager
def progress(title: str, total: int, unit: str, start: int = 0) -> Iterator[Callable[[int], None]]:
    """Show progress on stderr; yields `advance(n)`. An earlier run had already done `start`."""
    show = _bar if sys.stderr.isatty() else _lines
    with show(title, total, unit, start) as advance:
        yield advance


@contextlib.contextmanager
def _bar(title: str, total: int, unit: str, start: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + " · {task.fields[rate]:.2f}/s · elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=start, rate=0.0)
        began, done = time.monotonic(), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            bar.update(task, advance=count, rate=done / max(time.monotonic() - began, 1e-6))

        yield advance


@contextlib.contextmanager
def _lines(title: str, total: int, unit: str, start: int) -> Iterator[Callable[[int], None]]:
    began = shown = time.monotonic()
    done, said = 0, -1

    def line() -> None:
        nonlocal said
        said = done
        seconds = time.monotonic() - began
        rate = done / max(seconds, 1e-6)
        remaining = total - start - done
        left = f", {remaining / rate:.0f} s left" if rate and remaining else ""
        sys.stderr.write(
            f"{title}: {start + done}/{total} {unit}, {rate:.2f}/s, {seconds:.0f} s{left}\n"
        )

    def advance(count: int) -> None:
        nonlocal shown, done
        done += count
        if time.monotonic() - shown > SECONDS_BETWEEN_LINES:
            shown = time.monotonic()
            line()

    try:
        yield advance
    finally:
        if done != said:
            line()
