"""Where the time of a step goes, by a clock that is turned by hand; and a profile's file."""

import json
import time

import pytest
import torch

from train.profiling import profiler
from train.stopwatch import PHASES, Stopwatch, peak_flops

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def turn(self, seconds):
            self.now += seconds

    found = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: found.now)
    return found


def test_phases_add_up_and_the_rest_is_other(clock):
    watch = Stopwatch(CPU)
    for _ in range(2):
        with watch("encode"):
            clock.turn(1.5)
        clock.turn(0.25)
        with watch("backward"):
            clock.turn(2.0)
    row = watch.read()
    expected = dict.fromkeys(PHASES, 0.0) | {"encode": 3.0, "backward": 4.0, "other": 0.5}
    assert row == {**expected, "step": 7.5}


def test_a_reading_begins_anew(clock):
    watch = Stopwatch(CPU)
    with watch("data"):
        clock.turn(3.0)
    watch.read()
    clock.turn(1.0)
    assert watch.read() == {**dict.fromkeys(PHASES, 0.0), "other": 1.0, "step": 1.0}


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989.4),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA GeForce RTX 4090", 165.2),
    ],
)
def test_peaks_are_those_of_the_data_sheets(monkeypatch, name, tera):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda")) == pytest.approx(tera * 1e12)


def test_the_peak_of_an_unknown_device_is_not_made_up(monkeypatch):
    assert peak_flops(CPU) is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some Accelerator")
    assert peak_flops(torch.device("cuda")) is None


def run_steps(folder, profiled, taken):
    with profiler(profiled, folder, first_step=40) as after_step:
        for _ in range(taken):
            torch.ones(4).sin()
            after_step()


def test_a_profile_holds_the_steps_after_the_first_two(tmp_path, capsys):
    run_steps(tmp_path, profiled=2, taken=6)
    (path,) = tmp_path.iterdir()
    assert path.name == "profile-00000043.json"
    assert str(path) in capsys.readouterr().err
    events = json.loads(path.read_text())["traceEvents"]
    assert sum(event["name"] == "aten::sin" for event in events) == 2


def test_without_a_wish_nothing_is_profiled(tmp_path):
    run_steps(tmp_path, profiled=0, taken=4)
    assert list(tmp_path.iterdir()) == []
