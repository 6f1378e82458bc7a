"""What tests of several rooms need of the machine."""

import os
import subprocess

import pytest


@pytest.fixture(autouse=True)
def no_privilege_is_kept():
    """A library that takes real-time priority is found where it does, not where the machine hangs.

    SVT-AV1 does so for root, and what this process starts inherits it.
    """
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER, "the scheduling policy was changed"


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one thread: the models of the tests are too small for more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte in memory; `resize("2g")` makes it larger or smaller."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)

    yield folder, resize
    subprocess.run(["umount", "-l", folder], check=True)
