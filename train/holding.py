"""A folder that several runs share, held by one of them at a time; the others wait.

The lock ends with the process that has it, however that ends.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from dynamicrafter import files
from dynamicrafter.command import say
from dynamicrafter.errors import MachineError
from dynamicrafter.ranks import Ranks
from train import parallel

POLL_S = 1.0  # between two looks at a folder that another run holds


@contextlib.contextmanager
def held(folder: Path, ranks: Ranks, waiting: str) -> Iterator[None]:
    """Hold `folder` inside the block; where another run holds it, say `waiting` once and wait.

    The rank that leads holds it for all. They look together, so that none waits for another longer
    than a look takes.
    """
    with contextlib.ExitStack() as lock:
        told = False
        while not parallel.from_leader(ranks, lambda: _taken(folder, lock)):
            if ranks.leads and not told:
                say(waiting)
            told = True
        yield


def _taken(folder: Path, lock: contextlib.ExitStack) -> bool:
    try:
        lock.enter_context(files.folder_lock(folder))
    except MachineError:
        time.sleep(POLL_S)
        return False
    return True
