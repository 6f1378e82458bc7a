import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from curation.engine import Failure, run_jobs
from dynamicrafter.errors import MediaError
from dynamicrafter.files import atomic_path


def misbehave(job, offset):
    if job == "hang":
        time.sleep(60)
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "bad":
        raise MediaError("unreadable", "bad file")
    if job == "bug":
        raise ZeroDivisionError
    return job + offset


def test_bad_jobs_do_no_harm_to_the_others():
    jobs = [1, "hang", 2, "die", 3, "bad", 4]
    results = dict(run_jobs(misbehave, jobs, (10,), workers=2, timeout_s=1.5))
    assert {job: results[job] for job in (1, 2, 3, 4)} == {1: 11, 2: 12, 3: 13, 4: 14}
    assert results["hang"] == Failure("timeout", "not done in 1.5 s, 2 times")
    assert results["die"].reason == "crashed"
    assert results["bad"] == Failure("unreadable", "bad file")


def test_faults_of_the_program_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        list(run_jobs(misbehave, ["bug"], (1,), workers=1, timeout_s=30))


def write_half(job, folder):
    while job == "full":
        if list(folder.glob(".*.partial")):
            raise OSError(errno.ENOSPC, "No space left on device")
    with atomic_path(folder / job) as temporary:
        temporary.write_text("half")
        time.sleep(60)


def test_a_killed_worker_leaves_nothing_half_written(tmp_path):
    pool = {"workers": 1, "timeout_s": 1.5, "folder": tmp_path}
    ((_, failure),) = run_jobs(write_half, ["hang"], (tmp_path,), **pool)
    assert failure.reason == "timeout"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    pool = {"workers": 2, "timeout_s": 30, "folder": tmp_path}
    with pytest.raises(OSError, match="No space left"):
        list(run_jobs(write_half, ["hang", "full"], (tmp_path,), **pool))
    assert list(tmp_path.iterdir()) == []


ORPHANS = """
from curation.engine import run_jobs
from tests.curation.test_engine import report_and_wait
if __name__ == "__main__":
    list(run_jobs(report_and_wait, [1, 2], workers=2, timeout_s=60))
"""


def report_and_wait(job):
    sys.stdout.write(f"{os.getpid()}\n")
    sys.stdout.flush()
    time.sleep(60)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_the_driver(tmp_path, kill):
    script = tmp_path / "driver.py"
    script.write_text(ORPHANS)
    driver = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    workers = [int(driver.stdout.readline()) for _ in range(2)]
    driver.send_signal(kill)
    driver.wait(timeout=30)
    deadline = time.monotonic() + 15
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(alive(pid) for pid in workers)
