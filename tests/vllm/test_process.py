"""The real worker process: it is gone when it should be, and comes back when it was killed."""

import json
import subprocess
import sys
import time
from dataclasses import asdict

import psutil
import pytest

from curation.captions.engine import WORKER, EngineModel
from dynamicrafter.errors import InputError
from tests.vllm.questions import fits_schema, question

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(1200)]

PARENT = """
import json, sys, time
from curation.captions.engine import EngineModel
from curation.captions.engine_settings import EngineSettings
model = EngineModel(EngineSettings(**json.loads(sys.argv[1])))
print("loaded", flush=True)
time.sleep(600)
"""


def workers(parent):
    return [p for p in psutil.Process(parent).children() if str(WORKER) in p.cmdline()]


def family(process):
    return [process, *process.children(recursive=True)]


def test_a_killed_process_is_started_anew_and_close_leaves_none(settings):
    model = EngineModel(settings())
    try:
        (first,) = workers(None)
        futures = [model.ask(question(count=count), fits_schema) for count in (2, 4, 6)]
        first.kill()
        for future in futures:
            fits_schema(future.result(500).text)
        (second,) = workers(None)
        assert second != first
        everyone = family(second)
    finally:
        model.close()
    assert not any(process.is_running() for process in everyone)


def test_it_dies_with_a_parent_that_is_killed(settings):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, json.dumps(asdict(settings()))],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert parent.stdout.readline() == "loaded\n"
        (worker,) = workers(parent.pid)
        everyone = family(worker)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    end = time.monotonic() + 20
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in everyone):
        assert time.monotonic() < end, everyone
        time.sleep(0.1)


def test_what_vllm_cannot_load_is_told_in_one_line(settings, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no such type"}')
    with pytest.raises(InputError, match=r"vLLM cannot load .*; see .*engine\.log") as caught:
        EngineModel(settings(model=str(tmp_path)))
    assert "\n" not in str(caught.value)
    assert workers(None) == []
