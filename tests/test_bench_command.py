"""`dynamicrafter bench`: every case a process; one that fails is named, the others are kept."""

import json
import subprocess
import types
from dataclasses import asdict

import pytest
import torch

from dynamicrafter.bench import command
from dynamicrafter.bench.measure import Row, check
from dynamicrafter.errors import FailedShareError, InputError
from dynamicrafter.files import read_json

ROW = asdict(Row("a pass", 61.5, "%", "≥ 60", details={"seconds": 2.0}))


def cases(monkeypatch, results):
    def run(arguments, **_):
        code, out, err = results[arguments[-1]]
        return subprocess.CompletedProcess(arguments, code, out, err)

    monkeypatch.setattr(command, "ON_CPU", dict.fromkeys(results, "some.module"))
    monkeypatch.setattr(command, "subprocess", types.SimpleNamespace(run=run))
    return types.SimpleNamespace(cases=list(results))


def test_rows_are_written_and_shown(monkeypatch, tmp_path, capsys):
    line = json.dumps(ROW) + "\n"
    config = cases(monkeypatch, {"one": (0, line + line, "")})
    assert command.run(config, tmp_path) == {"rows": 2}
    found = read_json(tmp_path / command.RESULT)
    assert found["rows"] == [{"case": "one", **ROW}] * 2
    assert found["failed"] == {}
    assert "61.5" in capsys.readouterr().err


def test_a_case_that_fails_is_named_and_its_rows_until_then_stay(monkeypatch, tmp_path):
    line = json.dumps(ROW) + "\n"
    results = {"bad": (1, line, "Traceback\nRuntimeError: not finite\n"), "good": (0, line, "")}
    with pytest.raises(FailedShareError, match="bad: RuntimeError: not finite"):
        command.run(cases(monkeypatch, results), tmp_path)
    found = read_json(tmp_path / command.RESULT)
    assert [row["case"] for row in found["rows"]] == ["bad", "good"]
    assert found["failed"] == {"bad": "RuntimeError: not finite"}


def test_which_cases_there_are():
    with pytest.raises(InputError, match=r"no case 'fast'; choose forward-cpu"):
        command.chosen_cases(["fast"])
    assert list(command.chosen_cases(["tiny-cpu"])) == ["tiny-cpu"]
    if not torch.cuda.is_available():
        assert set(command.chosen_cases(None)) == {"forward-cpu", "tiny-cpu"}
        with pytest.raises(InputError, match="train-256 needs a GPU"):
            command.chosen_cases(["train-256"])


def test_a_timing_that_means_nothing_is_none():
    check(True, "fine")
    with pytest.raises(RuntimeError, match="means nothing: zeros"):
        check(False, "zeros")
