"""The cells of a matrix: commands in order, failures that stop no other, locks waited for."""

import threading
import time

import filelock
import pytest

from dynamicrafter.errors import InputError
from train.ablation.cells import Job, make
from train.ablation.launchers import launcher

FINE = ["--version"]
WRONG = ["nonsense"]


def job(folder, name="full", **phases):
    return Job(name, 0, folder / name, phases, gpus=1)


def test_the_phases_run_in_order_and_say_what_they_say_into_logs(tmp_path):
    cell = job(tmp_path, train=FINE, eval=FINE)
    assert make(cell, threading.Event()) is None
    for name in ("train.log", "eval.log"):
        assert (cell.folder / name).read_text().startswith("dynamicrafter ")


def test_a_phase_that_fails_is_the_last_one_and_its_words_are_the_reason(tmp_path):
    cell = job(tmp_path, train=WRONG, eval=FINE)
    reason = make(cell, threading.Event())
    assert reason.startswith("train: there is no verb 'nonsense'")
    assert not (cell.folder / "eval.log").exists()


def test_a_command_that_dies_without_a_word_of_its_own_leaves_its_exit_code(tmp_path, monkeypatch):
    monkeypatch.setattr("train.ablation.cells.sys.executable", "/bin/false")
    assert make(job(tmp_path, train=FINE), threading.Event()) == (
        "train: exit code 1: it said nothing"
    )


def test_a_command_that_outlived_its_driver_is_waited_for(tmp_path):
    cell = job(tmp_path, train=FINE)
    (cell.folder / "train").mkdir(parents=True)
    held = filelock.FileLock(cell.folder / "train" / ".lock")
    held.acquire()
    answers = []
    worker = threading.Thread(target=lambda: answers.append(make(cell, threading.Event())))
    worker.start()
    time.sleep(1.0)
    assert not (cell.folder / "train.log").exists()
    held.release()
    worker.join(20)
    assert answers == [None]


def test_who_is_told_to_stop_stops_waiting_and_starts_nothing(tmp_path):
    stop = threading.Event()
    stop.set()
    cell = job(tmp_path, train=FINE)
    cell.folder.mkdir()
    with (
        filelock.FileLock(cell.folder / ".lock"),
        pytest.raises(KeyboardInterrupt),
    ):
        make(cell, stop)
    assert not (cell.folder / "train.log").exists()


def test_a_cell_that_fails_stops_no_other_and_reasons_keep_the_order(tmp_path):
    jobs = [job(tmp_path, "a", train=WRONG), job(tmp_path, "b", train=FINE)]
    for side_by_side in (1, 2):
        reasons = launcher("local", side_by_side, {}, tmp_path)(jobs)
        assert "no verb" in reasons[0]
        assert reasons[1] is None


def test_launchers_that_there_are_not(tmp_path):
    with pytest.raises(InputError, match=r"launcher=ray; choose local or submitit"):
        launcher("ray", 1, {}, tmp_path)
    with pytest.raises(InputError, match=r"side_by_side=0"):
        launcher("local", 0, {}, tmp_path)


def test_without_submitit_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(InputError, match=r"pip install 'dynamicrafter-toolkit\[cluster\]'"):
        launcher("submitit", 1, {}, tmp_path)


def test_jobs_of_submitit(tmp_path):
    jobs = [job(tmp_path, "a", train=WRONG), job(tmp_path, "b", train=FINE)]
    cluster = {"executor": "local", "parameters": {"timeout_min": 1}}
    reasons = launcher("submitit", 1, cluster, tmp_path / "jobs")(jobs)
    assert "no verb" in reasons[0]
    assert reasons[1] is None
    assert (jobs[1].folder / "train.log").read_text().startswith("dynamicrafter ")
