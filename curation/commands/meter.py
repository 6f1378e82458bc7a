"""What calls into worker processes cost: CPU seconds of the worker, wall seconds, bytes.

`Meter` stands where a pass expects an `Isolation`, so the real passes run, over the real functions.
What a process pays once (imports, weights) is paid before the clock starts: the first call of each
function, and of each measure, is made twice.
"""

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from curation.measures.contract import Footage, Measure
from curation.passes.measure import BY_NAME, Task, measure_span
from dynamicrafter.errors import MediaError
from dynamicrafter.media.isolation import CRASHED, STRIKES, TIMEOUT, Isolation

Cost = dict[str, Any]
"""{"cpu_s", "wall_s", "read_bytes", "measures": {name: [cpu_s, wall_s]}}; bytes are None where the
system does not count them."""

_warm: set[str] = set()
_measures: dict[str, list[float]] = {}
_aside = [0.0, 0.0]  # CPU and wall seconds of first calls within the call that is metered


class Meter:
    """`meter(function, *args)` is `isolated(function, *args)`; what it cost is noted in `calls`."""

    def __init__(self, isolated: Isolation, timeout_s: float):
        """`timeout_s` is what a call costs that is killed."""
        self._isolated, self._timeout_s = isolated, timeout_s
        self.calls: list[dict[str, Any]] = []

    def stop(self) -> None:
        """End the processes."""
        self._isolated.stop()

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run `function`, whose first argument is a clip or the row of one, in a process."""
        try:
            result, error, cost = self._isolated(metered, function, *args)
        except MediaError as failure:
            if failure.reason not in (TIMEOUT, CRASHED):
                raise
            spent = STRIKES * self._timeout_s if failure.reason == TIMEOUT else 0.0
            cost = {"cpu_s": spent, "wall_s": spent, "measures": {}}
            result, error = None, failure
        clip_id = args[0]["clip_id"] if isinstance(args[0], dict) else args[0].clip_id
        self.calls.append({"function": function.__name__, "clip_id": clip_id, **cost})
        if error is not None:
            raise error
        return result


def metered(function: Callable[..., Any], *args: Any) -> tuple[Any, MediaError | None, Cost]:
    """Run a function in a worker; returns its result, its MediaError and what it cost."""
    if function is measure_span:
        *rest, tasks = args
        args = (*rest, tuple(_TimedTask(task.name, task.settings, task.digest) for task in tasks))
    if function.__name__ not in _warm:
        with contextlib.suppress(MediaError):
            function(*args)
            _warm.add(function.__name__)
    _measures.clear()
    _aside[:] = 0.0, 0.0
    before, wall, cpu = _bytes_read(), time.perf_counter(), time.process_time()
    result, error = None, None
    try:
        result = function(*args)
    except MediaError as failure:
        error = failure
    cost: Cost = {
        "cpu_s": time.process_time() - cpu - _aside[0],
        "wall_s": time.perf_counter() - wall - _aside[1],
        "measures": {name: list(spent) for name, spent in _measures.items()},
    }
    cost["read_bytes"] = None if before is None else _bytes_read() - before
    return result, error, cost


class _TimedTask(Task):
    """A measure that notes what it costs."""

    @property
    def measure(self) -> Measure:
        real = BY_NAME[self.name]
        return replace(real, compute=functools.partial(_compute, real))


def _compute(measure: Measure, footage: Footage, settings: Any) -> dict[str, Any]:
    if measure.name not in _warm:
        spent = _timed(measure.compute, footage, settings)[1:]
        _aside[:] = _aside[0] + spent[0], _aside[1] + spent[1]
        _warm.add(measure.name)
    result, cpu_s, wall_s = _timed(measure.compute, footage, settings)
    before = _measures.get(measure.name, [0.0, 0.0])
    _measures[measure.name] = [before[0] + cpu_s, before[1] + wall_s]
    return result


def _timed(compute: Callable[..., Any], *args: Any) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = compute(*args)
    return result, time.process_time() - cpu, time.perf_counter() - wall


def _bytes_read() -> int | None:
    """Bytes that this process has read, from a disk or from the system's memory of it."""
    try:
        with open("/proc/self/io", encoding="ascii") as file:
            return int(dict(line.split(": ") for line in file)["rchar"])
    except (OSError, KeyError, ValueError):
        return None
