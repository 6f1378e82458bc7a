"""Calls that hang or die: what they cost, and that nothing outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from dynamicrafter.errors import MediaError
from dynamicrafter.media.isolation import CRASHED, STRIKES, TIMEOUT, Isolation

PROC = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")


def note(folder):
    """Leave a file that tells of this call, named after its process."""
    (folder / f"{time.monotonic_ns()}-{os.getpid()}").touch()


def hang(folder):
    note(folder)
    time.sleep(60)


def spin(folder):
    note(folder)
    while True:
        pass


def die(folder):
    note(folder)
    os.kill(os.getpid(), signal.SIGKILL)


def leave(folder):
    note(folder)
    os._exit(3)


def hang_once(folder):
    note(folder)
    if len(list(folder.iterdir())) == 1:
        time.sleep(60)
    return "done"


def refuse(reason, message):
    raise MediaError(reason, message)


def quarrel():
    raise RuntimeError("dictionary changed size")


def divide(a, b):
    return a / b


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.mark.parametrize(
    ("harm", "reason", "message"),
    [
        (hang, TIMEOUT, r"^not done in 0\.5 s, 2 times$"),
        (spin, TIMEOUT, r"^not done in 0\.5 s, 2 times$"),
        (die, CRASHED, r"^its process died: .*, 2 times$"),
        (leave, CRASHED, r"^its process died: .*, 2 times$"),
    ],
)
def test_two_strikes_and_out(tmp_path, harm, reason, message):
    with Isolation(1, 0.5) as isolated:
        with pytest.raises(MediaError, match=message) as caught:
            isolated(harm, tmp_path)
        assert caught.value.reason == reason
        assert isolated(divide, 6, 2) == 3  # a new process stands in
    pids = {path.name.split("-")[1] for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == STRIKES == 2
    assert len(pids) == 2


def test_one_strike_is_forgiven(tmp_path):
    with Isolation(1, 1) as isolated:
        assert isolated(hang_once, tmp_path) == "done"
    assert len(list(tmp_path.iterdir())) == 2


@PROC
def test_the_death_of_an_idle_process_is_forgiven():
    with Isolation(1, 30) as isolated:
        for _ in range(3):
            pid = isolated(os.getpid)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: not alive(pid))
            time.sleep(0.5)  # the pool has noticed
            assert isolated(os.getpid) != pid
            assert isolated(divide, 6, 2) == 3


class Deadly:
    """What kills the process that it is sent to, before any call begins."""

    def __reduce__(self):
        return os._exit, (3,)


def test_arguments_that_kill_are_given_up():
    with Isolation(1, 30) as isolated:
        with pytest.raises(MediaError, match="died") as caught:
            isolated(divide, Deadly(), 1)
        assert caught.value.reason == CRASHED
        assert isolated(divide, 6, 2) == 3


def test_a_function_may_raise_a_runtime_error_of_its_own():
    with Isolation(1, 30) as isolated, pytest.raises(RuntimeError, match="dictionary changed"):
        isolated(quarrel)


def test_bad_calls_do_no_harm_to_the_others(tmp_path):
    def call(job):
        if job % 10 == 3:
            with pytest.raises(MediaError):
                isolated((hang, die)[job % 20 > 10], tmp_path)
            return job
        return isolated(divide, job, 1)

    with Isolation(2, 0.5) as isolated, ThreadPoolExecutor(2) as pool:
        assert list(pool.map(call, range(30))) == list(range(30))


def test_what_a_function_raises_passes_through():
    with Isolation(1, 30) as isolated:
        with pytest.raises(MediaError, match=r"^a page$") as caught:
            isolated(refuse, "not_video", "a page")
        assert caught.value.reason == "not_video"
        with pytest.raises(ZeroDivisionError):
            isolated(divide, 1, 0)


def test_stop_frees_waiting_threads_at_once(tmp_path):
    ends = []

    def call():
        with pytest.raises(CancelledError):
            isolated(hang, tmp_path)
        ends.append(time.monotonic())

    with Isolation(1, 60) as isolated:
        threads = [threading.Thread(target=call) for _ in range(3)]  # two wait for the one worker
        for thread in threads:
            thread.start()
        wait_until(lambda: list(tmp_path.iterdir()))
        time.sleep(0.2)
        began = time.monotonic()
        isolated.stop()
        for thread in threads:
            thread.join(10)
        assert len(ends) == 3
        assert max(ends) - began < 3
        with pytest.raises(CancelledError):
            isolated(divide, 1, 1)
    assert len(list(tmp_path.iterdir())) == 1  # a second chance is not given after the end


@PROC
def test_no_process_is_left_after_the_block(tmp_path):
    def call():
        with pytest.raises(CancelledError):
            isolated(spin, tmp_path)

    with Isolation(2, 60) as isolated:
        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    for thread in threads:
        thread.join(10)
    pids = [int(path.name.split("-")[1]) for path in tmp_path.iterdir()]
    wait_until(lambda: not any(alive(pid) for pid in pids), 5)


PARENT = """
import sys, threading
from pathlib import Path
from dynamicrafter.media.isolation import Isolation
from tests.media.test_isolation import hang, spin
if __name__ == "__main__":
    with Isolation(2, 60) as isolated:
        for harm in (hang, spin):
            threading.Thread(target=isolated, args=(harm, Path(sys.argv[1]))).start()
        threading.Event().wait()
"""


@PROC
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_parent(tmp_path, kill):
    script, folder = tmp_path / "parent.py", tmp_path / "calls"
    folder.mkdir()
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        wait_until(lambda: len(list(folder.iterdir())) == 2)
        pids = [int(path.name.split("-")[1]) for path in folder.iterdir()]
        assert all(alive(pid) for pid in pids)
        parent.send_signal(kill)
        parent.wait(timeout=10)
    finally:
        parent.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids), 5)
