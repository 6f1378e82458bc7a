"""Features: windows decoded here or by processes, seen once by the networks that lack them."""

import gc
import multiprocessing
import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dynamicrafter.errors import InputError, MachineError, MediaError
from dynamicrafter.features.network import Network
from dynamicrafter.files import sha256_json
from eval import decoding
from eval.decoding import decoded
from eval.extract import Features

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Numbered:
    """A window whose pixels are its number; or one that cannot be read, or that kills."""

    number: int
    fault: str | None = None

    @property
    def key(self):
        return f"video-{self.number}"

    def content(self):
        return sha256_json([self.number])

    def read(self):
        if self.fault == "broken":
            raise MediaError("corrupt", "no frame comes out")
        if self.fault == "gone":
            raise FileNotFoundError(2, "No such file or directory", "video-3.mp4")
        if self.fault == "changed":
            raise InputError("video-3 has changed; select again")
        if self.fault == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full((2, 4, 4, 3), self.number, np.uint8)


def windows(count, **faults):
    found = [Numbered(number) for number in range(count)]
    for fault, number in faults.items():
        found[number] = Numbered(number, fault)
    return found


class Counting:
    """A network of one number for each window that remembers what it has seen."""

    def __init__(self, name, factor):
        self.name, self.factor, self.seen = name, factor, []

    def network(self):
        return Network(self.name, self.name, "whole", lambda device: self.see)

    def see(self, frames):
        self.seen += frames[:, 0, 0, 0, 0].tolist()
        return self.factor * frames[:, :1, 0, 0, 0].astype(np.float32)


@pytest.mark.parametrize(("workers", "batch"), [(0, 1), (0, 20), (2, 3), ("auto", 3)])
def test_windows_come_in_order_whoever_decodes_them(workers, batch):
    found = list(decoded(windows(7), batch, workers, CPU))
    assert [number for part, _ in found for number in part] == list(range(7))
    frames = np.concatenate([stack for _, stack in found])
    assert frames.shape == (7, 2, 4, 4, 3)
    assert frames[:, 0, 0, 0, 0].tolist() == list(range(7))
    assert max(len(part) for part, _ in found) <= batch


@pytest.mark.parametrize("workers", [0, 1])
def test_a_window_that_cannot_be_read_is_named(workers):
    with pytest.raises(InputError, match="the video video-3 cannot be read: no frame comes out"):
        list(decoded(windows(5, broken=3), 2, workers, CPU))


def test_a_video_that_has_gone_is_named_too():
    with pytest.raises(InputError, match=r"video-3 cannot be read: .*No such file.*video-3\.mp4"):
        list(decoded(windows(5, gone=3), 2, 0, CPU))


def test_processes_leave_nothing_open_and_need_no_shared_memory(monkeypatch):
    monkeypatch.setattr(decoding, "ENOUGH_SHARED", 2**70)
    open_files = []
    for _ in range(3):
        found = list(decoded(windows(3), 2, 1, CPU))
        assert np.concatenate([stack for _, stack in found])[:, 0, 0, 0, 0].tolist() == [0, 1, 2]
        del found
        gc.collect()
        open_files.append(len(os.listdir("/proc/self/fd")))
    assert open_files[2] <= open_files[1] <= open_files[0] + 1
    assert not multiprocessing.active_children()


def test_an_error_with_words_of_its_own_keeps_them():
    with pytest.raises(InputError, match=r"^video-3 has changed; select again$"):
        list(decoded(windows(5, changed=3), 2, 0, CPU))


def test_a_process_that_is_killed_is_one_line():
    with pytest.raises(MachineError, match=r"loader process was killed.*lower workers or batch"):
        list(decoded(windows(4, deadly=2), 1, 1, CPU))


@pytest.mark.parametrize("workers", ["many", -1, 1.5, None])
def test_what_is_no_number_of_processes_is_refused(workers):
    with pytest.raises(InputError, match="is no number of processes; choose one, or auto"):
        list(decoded(windows(2), 1, workers, CPU))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_network_sees_only_what_it_lacks(tmp_path, workers):
    store = Features(tmp_path, 3, workers, "cpu")
    one, two = Counting("one", 1), Counting("two", 2)
    found = store.of(windows(5), [one.network()], "first")
    assert found["one"][:, 0].tolist() == [0, 1, 2, 3, 4]
    both = store.of(windows(8), [one.network(), two.network()], "second")
    assert both["one"][:, 0].tolist() == list(range(8))
    assert both["two"][:, 0].tolist() == [2.0 * number for number in range(8)]
    assert one.seen == list(range(8))
    assert two.seen == list(range(8))
    again = Features(tmp_path, 3, workers, "cpu")
    broken = [Numbered(number, "broken") for number in range(8)]  # nothing is decoded any more
    assert again.of(broken, [one.network()], "third")["one"].tolist() == both["one"].tolist()
    assert one.seen == list(range(8))
