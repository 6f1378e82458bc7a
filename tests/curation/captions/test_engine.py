"""The engine beside a scripted worker: whatever that does, every question ends."""

import concurrent.futures
import shlex
import sys
import time
from pathlib import Path

import psutil
import pytest

from curation.captions.answer import BadAnswer
from curation.captions.engine import EngineModel
from curation.captions.engine_settings import (
    PIECE_BYTES,
    EngineSettings,
    digest_of_folder,
    identity_of,
)
from curation.captions.question import NoReply, Question
from dynamicrafter.errors import InputError, MachineError

FAKE = Path(__file__).with_name("fake_engine.py")
FACTS = {"vllm": "0.32.0", "dtype": "bfloat16", "commit": None}


def accept(text):
    return text


@pytest.fixture
def settings(tmp_path):
    """`settings(**changes)` for an interpreter that runs the scripted worker, whatever is asked."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(FAKE))}\n")
    python.chmod(0o755)

    def make(act="load", **changes):
        own = {"python": str(python), "log": str(tmp_path / "run/engine.log"), "model": "some/one"}
        return EngineSettings(**{**own, "arguments": {"act": act}, **changes})

    return make


@pytest.fixture
def opened(settings):
    models = []

    def open_one(**changes):
        models.append(EngineModel(settings(**changes)))
        return models[-1]

    yield open_one
    for model in models:
        model.close()


def ask(model, check=accept, **body):
    return model.ask(Question(body), check)


def failure(future):
    with pytest.raises(NoReply) as caught:
        future.result(20)
    return caught.value.reason, caught.value.final


def workers():
    return [p for p in psutil.Process().children() if str(FAKE) in p.cmdline()]


def test_an_answer_comes_with_its_tokens(opened):
    reply = ask(opened(), act="answer", text="so").result(20)
    assert (reply.text, reply.requests) == ("so", 1)
    assert (reply.prompt_tokens, reply.completion_tokens) == (7, 3)


def test_bad_answers_are_final_and_the_others_go_on(opened):
    def minds(text):
        raise BadAnswer("wrong_value", "never")

    model = opened()
    asked = [ask(model, act=act) for act in ("refuse", "cut", "answer")]
    asked.append(ask(model, check=minds, act="answer"))
    asked.append(ask(model, act="answer", text=" "))
    ends = [failure(future) for i, future in enumerate(asked) if i != 2]
    assert ends == [(r, True) for r in ("refused", "cut_off", "wrong_value", "empty")]
    assert asked[2].result(20).text == "yes"


def test_what_a_dead_process_had_is_asked_of_a_new_one(opened, tmp_path):
    model = opened()
    before = workers()
    future = ask(model, act="die once", mark=str(tmp_path / "mark"))
    behind = ask(model, act="answer")
    assert future.result(20).requests == 2
    assert behind.result(20).text == "yes"
    after = workers()
    assert len(after) == 1
    assert after != before


def test_two_deaths_without_an_answer_end_the_run(opened):
    model = opened()
    futures = [ask(model, act="die"), ask(model, act="answer")]
    for future in futures:
        with pytest.raises(MachineError, match=r"vLLM ended with 3: out of memory; see .*2 times"):
            future.result(20)
    with pytest.raises(MachineError):
        ask(model, act="answer").result(20)


def test_a_question_that_saw_two_deaths_is_given_up_and_the_others_go_on(opened, tmp_path):
    model = opened()
    answered_later = ask(model, act="nothing once", mark=str(tmp_path / "mark"))
    fatal = ask(model, act="die")
    assert failure(fatal) == ("crashed", False)
    assert answered_later.result(20).requests == 2
    assert ask(model, act="answer").result(20).requests == 1


def test_a_process_that_hangs_is_killed(opened):
    model = opened(timeout_s=0.5)
    with pytest.raises(MachineError, match=r"answered nothing for 0\.5 s"):
        ask(model, act="hang").result(20)
    assert workers() == []


def test_time_without_questions_is_no_hanging(opened):
    model = opened(timeout_s=0.6)
    (worker,) = workers()
    time.sleep(1.2)
    assert ask(model, act="answer").result(20).requests == 1
    assert workers() == [worker]


def test_close_ends_what_waits_and_what_is_asked_after(opened):
    model = opened()
    waiting = ask(model, act="nothing")
    model.close()
    assert failure(waiting) == ("closed", False)
    assert failure(ask(model, act="answer")) == ("closed", False)
    assert workers() == []
    model.close()


def test_no_more_are_in_flight_than_may_be(opened):
    model = opened(in_flight=1)
    first = ask(model, act="nothing")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        second = pool.submit(ask, model, act="answer")
        done, _ = concurrent.futures.wait([second], timeout=0.5)
        assert not done
        assert first.cancel()
        assert second.result(20).result(20).text == "yes"


def test_a_callback_that_asks_is_told_so(opened):
    model, seen = opened(), []

    def again(_):
        try:
            ask(model, act="answer")
        except RuntimeError as error:
            seen.append(str(error))

    future = ask(model, act="slow")
    future.add_done_callback(again)
    future.result(20)
    ask(model, act="answer").result(20)
    assert seen == ["a question cannot be asked from the callback of another"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"act": "fail"}, InputError, r"cannot load some/one: ValueError: no such model; see "),
        ({"act": "die"}, MachineError, r"ended with 9 as it loaded some/one: out of memory; see "),
        ({"act": "silence", "start_s": 0.5}, MachineError, r"did not load some/one in 0\.5 s"),
        ({"python": "/no/python"}, InputError, r"/no/python cannot be run .*make setup-vllm"),
        ({"model": None}, InputError, r"no model is named"),
        ({"model": "./nowhere"}, InputError, r"no folder \./nowhere"),
        ({"in_flight": 0}, InputError, r"in_flight=0 must be 1"),
        ({"timeout_s": 0.0}, InputError, r"timeout_s=0\.0"),
        ({"memory_share": 1.5}, InputError, r"memory_share=1\.5"),
        ({"arguments": {"dtype": "half"}}, InputError, r"dtype cannot be given there"),
    ],
)
def test_what_cannot_be_started_says_why(settings, changes, error, message):
    with pytest.raises(error, match=message):
        EngineModel(settings(**changes))
    assert workers() == []


def test_the_weights_tell_two_models_apart(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights = bytearray(100 * PIECE_BYTES)
    (folder / "model.safetensors").write_bytes(weights)
    before = digest_of_folder(str(folder))
    (folder / "notes.md").write_text("no part of the model")
    assert digest_of_folder(str(folder)) == before
    weights[-1] = 1
    (folder / "model.safetensors").write_bytes(weights)
    assert digest_of_folder(str(folder)) != before
    moved = folder.rename(tmp_path / "moved")
    (moved / "model.safetensors").write_bytes(bytes(100 * PIECE_BYTES))
    assert digest_of_folder(str(moved)) == before
    assert digest_of_folder("Qwen/Qwen3-VL-8B-Instruct") is None


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no config\.json"):
        digest_of_folder(str(tmp_path))


def test_identity_holds_what_answers_depend_on(settings):
    def identity(files=None, **arguments):
        return identity_of(settings(arguments=arguments), files, FACTS)

    assert identity("abc") == "one, files abc, bfloat16, vLLM 0.32.0"
    assert identity() == "some/one, revision None, bfloat16, vLLM 0.32.0"
    assert identity("abc", tensor_parallel_size=2) == identity("abc")
    assert identity("abc", quantization="fp8") != identity("abc")
    commit = {**FACTS, "commit": "c0ffee"}
    assert "revision c0ffee" in identity_of(settings(), None, commit)
