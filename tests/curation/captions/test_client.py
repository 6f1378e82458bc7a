"""The client against every fault that a server can have: the right end, in bounded time."""

import time
import tracemalloc

import pytest

from curation.captions.answer import parse_answer
from curation.captions.client import ClientSettings, HttpModel
from curation.captions.question import NoReply, Question
from dynamicrafter.errors import InputError
from tests.curation.captions.faulty_server import FaultyServer, good_answer

QUICK = {
    "timeout_s": 0.3, "clip_timeout_s": 4.0, "wait_s": 2.0,
    "retry_base_s": 0.02, "retry_max_s": 0.2, "tries": 3, "failures": 4,
}  # fmt: skip


def question(number=0):
    return Question({"messages": [{"role": "user", "content": f"clip {number}"}], "seed": 0})


def model_of(*servers, **changes):
    return HttpModel(ClientSettings([s.url for s in servers], **{**QUICK, **changes}))


@pytest.fixture
def served(request):
    """A server with the script of the test, and a client of it."""
    with FaultyServer(request.param) as server:
        model = model_of(server)
        yield server, model
        model.close()


FAILURES = {
    "500": "http_500", "502": "http_502", "503": "http_503", "409": "http_409",
    "reset": "disconnected", "closed": "disconnected", "short": "disconnected",
    "endless": "disconnected", "hang": "timeout", "drip": "timeout", "redirect": "http_307",
}  # fmt: skip
BAD = {
    "cut_json": "not_json", "prose": "not_json", "fenced": "not_json", "shape": "wrong_shape",
    "control": "not_json", "escaped_control": "control_characters",
    "surrogate": "control_characters", "enum": "wrong_value",
    "empty": "empty", "blank": "empty", "length": "cut_off", "filtered": "unfinished",
    "html": "bad_body", "no_choices": "bad_body", "raw_control": "bad_body",
    "huge": "too_large", "huge_chunked": "too_large",
}  # fmt: skip
BUSY = {"429": "http_429", "429_after": "http_429", "429_date": "http_429", "429_day": "http_429"}


@pytest.mark.parametrize(
    ("served", "reason"),
    [([name, name], reason) for name, reason in {**FAILURES, **BAD, **BUSY}.items()],
    indirect=["served"],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_fault_that_passes_costs_no_reply(served, reason):
    server, model = served
    began = time.monotonic()
    reply = model.ask(question(), parse_answer).result(5)
    assert time.monotonic() - began < QUICK["clip_timeout_s"]
    assert reply.text == good_answer(question().body)
    assert (reply.requests, reply.prompt_tokens, reply.completion_tokens) == (3, 7, 5)
    assert model.counts() == {"requests": 3, "replies": 1, f"retries/{reason}": 2}
    assert server.digests == [question().digest] * 3
    assert len(set(server.bodies)) == 1


@pytest.mark.parametrize(
    ("name", "reason", "final"),
    [
        *((name, reason, True) for name, reason in BAD.items() if "huge" not in name),
        *((name, reason, False) for name, reason in FAILURES.items()),
    ],
)
def test_a_fault_that_stays_ends_within_its_limits(name, reason, final):
    with FaultyServer(lambda number, body: name) as server:
        model = model_of(server)
        with pytest.raises(NoReply) as caught:
            model.ask(question(), parse_answer).result(6)
        model.close()
    assert (caught.value.reason, caught.value.final) == (reason, final)
    assert len(server.digests) == (QUICK["tries"] if final else QUICK["failures"])


def test_the_time_of_a_question_is_bounded_where_nothing_else_is():
    with FaultyServer(lambda number, body: "429_after") as server:
        model = model_of(server, clip_timeout_s=0.6)
        began = time.monotonic()
        with pytest.raises(NoReply, match=r"429.*slow down") as caught:
            model.ask(question(), parse_answer).result(5)
        assert time.monotonic() - began < 2
        model.close()
    assert (caught.value.reason, caught.value.final) == ("timeout", False)


@pytest.mark.parametrize("served", [["400"]], indirect=True)
def test_a_question_that_never_fits_is_refused_once_in_the_servers_words(served):
    server, model = served
    with pytest.raises(NoReply) as caught:
        model.ask(question(), parse_answer).result(5)
    assert (caught.value.reason, caught.value.final) == ("refused", True)
    assert str(caught.value).startswith("scripted 400 xxx")
    assert len(str(caught.value)) == 200
    assert len(server.digests) == 1
    assert model.ask(question(1), parse_answer).result(5).requests == 1


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (["401"], r"DYNAMICRAFTER_CAPTION_KEY"),
        (["404"], r"set `servers` and `model`"),
        (["no_times"], r"--trust-request-mm-kwargs"),
        (["good", "other_model"], r"had the model 'tiny' and now has 'another'"),
        (["other_model"], r"had the model 'tiny' and now has 'another'"),
    ],
    indirect=["served"],
)
def test_what_makes_the_run_wrong_ends_it(served, said):
    _, model = served
    ended = [model.ask(question(number), parse_answer) for number in range(2)]
    with pytest.raises(InputError, match=said):
        [future.result(5) for future in ended]
    with pytest.raises(InputError, match=said):
        model.ask(question(9), parse_answer).result(5)


@pytest.mark.parametrize("served", [["good"]], indirect=True)
def test_another_fingerprint_is_another_model(served):
    server, model = served
    server.fingerprint = "fp_1"
    model.ask(question(), parse_answer).result(5)
    server.fingerprint = "fp_2"
    with pytest.raises(InputError, match=r"had the fingerprint 'fp_1' and now has 'fp_2'"):
        model.ask(question(1), parse_answer).result(5)


@pytest.mark.parametrize("served", [["plain_type", "http10"]], indirect=True)
def test_a_good_answer_in_odd_clothes_is_taken(served):
    _, model = served
    for number in range(3):
        assert model.ask(question(number), parse_answer).result(5).requests == 1


@pytest.mark.parametrize("served", [["huge", "huge_chunked"]], indirect=True)
def test_forty_megabytes_are_never_held(served):
    _, model = served
    tracemalloc.start()
    model.ask(question(), parse_answer).result(5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20  # a megabyte that is allowed, and what one read brings


def test_no_question_is_lost_in_a_storm_of_faults():
    names = [*FAILURES, *BAD, *BUSY, *["good"] * 60]
    names = [name for name in names if "hang" not in name and "drip" not in name]
    with FaultyServer(lambda number, body: names[number * 7 % len(names)]) as server:
        model = model_of(server, in_flight=8, tries=8, failures=12, clip_timeout_s=20.0)
        asked = [model.ask(question(number), parse_answer) for number in range(150)]
        for number, future in enumerate(asked):
            assert future.result(20).text == good_answer(question(number).body)
        assert model.counts()["requests"] == len(server.digests)
        model.close()
    assert server.most_at_once <= 8


@pytest.mark.parametrize("served", [["good"]], indirect=True)
def test_the_key_of_the_environment_is_sent_and_stands_nowhere(served, monkeypatch):
    server, _ = served
    monkeypatch.setenv("DYNAMICRAFTER_CAPTION_KEY", "secret-1")
    keyed = model_of(server)
    keyed.ask(question(), parse_answer).result(5)
    assert server.headers[-1]["Authorization"] == "Bearer secret-1"
    assert "secret-1" not in keyed.identity
    keyed.close()
    monkeypatch.setenv("DYNAMICRAFTER_CAPTION_KEY", "secret 1\n2")
    with pytest.raises(InputError, match=r"holds characters") as caught:
        model_of(server)
    assert "secret" not in str(caught.value)
