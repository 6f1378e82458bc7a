"""Ranks that watch each other, so that none waits for one that is gone.

A collective operation waits for all ranks, for a dead one too. So a thread of each rank says every
two seconds that it lives, in a store of rank 0, and looks whether the others do. A rank that stops
on an error leaves its message there. Whoever sees that another is gone ends, with the cause.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import torch.distributed as dist

from dynamicrafter.command import say
from dynamicrafter.errors import MachineError, ToolkitError

BEAT_S = 2.0
SILENCE_S = 30.0  # after which a rank counts as gone
LAST_WORDS_S = 5.0  # for a rank that sees the loss itself to end in an orderly way
STOPPED = "stopped: "


@contextlib.contextmanager
def watched(rank: int, count: int) -> Iterator[None]:
    """Beat, and watch the other ranks, inside the block; all ranks leave it together."""
    store = _shared_store(rank, count)
    store.set(str(rank), "0")
    dist.barrier()
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(store, rank, count, done), daemon=True)
    watch.start()
    try:
        yield
        dist.barrier()
    except BaseException as error:
        done.set()
        with contextlib.suppress(Exception):
            store.set(str(rank), STOPPED + (_one_line(error) or type(error).__name__))
            if rank == 0:  # the store is here, and shall be read before it goes
                time.sleep(2 * BEAT_S)
        raise
    finally:
        done.set()
        watch.join()


def _shared_store(rank: int, count: int) -> dist.TCPStore:
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    box: list = [None]
    if rank == 0:
        store = dist.TCPStore(host, 0, count, is_master=True, wait_for_workers=False)
        box = [store.port]
    dist.broadcast_object_list(box, src=0)
    return store if rank == 0 else dist.TCPStore(host, box[0], count, is_master=False)


def _watch(store: dist.TCPStore, rank: int, count: int, done: threading.Event) -> None:
    heard = {other: ("", time.monotonic()) for other in range(count) if other != rank}
    beat = 0
    while not done.wait(BEAT_S):
        beat += 1
        try:
            store.set(str(rank), str(beat))
            for other, (last, when) in heard.items():
                word = store.get(str(other)).decode()
                if word.startswith(STOPPED):
                    _end(rank, f"rank {other} has {word}", done)
                if word != last:
                    heard[other] = (word, time.monotonic())
                elif time.monotonic() - when > SILENCE_S:
                    _end(rank, f"rank {other} has not been heard of for {SILENCE_S:g} s", done)
        except (dist.DistError, RuntimeError):
            _end(rank, "rank 0 has gone", done)


def _end(rank: int, cause: str, done: threading.Event) -> None:
    """Let the rank end by itself if it sees the loss too; else end it where it waits."""
    if not done.wait(LAST_WORDS_S):
        say(f"dynamicrafter: rank {rank} on {socket.gethostname()}: {cause}; ending")
        os._exit(MachineError.exit_code)


def _one_line(error: BaseException) -> str:
    text = str(error) if isinstance(error, ToolkitError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]
