"""One tiny model, asked over HTTP and in a process: answers fit the schema, errors stay alone."""

import pytest

from curation.captions.question import NoReply, Question
from tests.vllm.questions import fits_schema, question

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["over_http", "in_process"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(("send_as", "count"), [("images", 3), ("video", 8)])
def test_answers_fit_the_schema(model, send_as, count):
    reply = model.ask(question(send_as, count), fits_schema).result(240)
    assert set(fits_schema(reply.text)) == {
        *("is_dynamic", "subject", "motion", "category", "camera", "speed", "confidence"),
    }
    assert reply.requests >= 1
    assert reply.prompt_tokens > 20
    assert reply.completion_tokens > 20


def test_equal_questions_get_equal_answers(model):
    first, second = (model.ask(question(), fits_schema).result(240).text for _ in range(2))
    assert first == second


def test_the_frames_reach_the_model(model):
    """More frames are more tokens, and so are frames that are pictures instead of a video."""
    tokens = [
        model.ask(question(send_as, count), fits_schema).result(240).prompt_tokens
        for send_as, count in (("video", 4), ("video", 8), ("images", 3))
    ]
    assert tokens[0] < tokens[1] != tokens[2]


def test_a_prompt_that_is_too_long_is_refused_alone(model):
    good = [model.ask(question(count=count), fits_schema) for count in (2, 4)]
    long = model.ask(question(text="a dog is running, " * 900), fits_schema)
    good.append(model.ask(question(count=6), fits_schema))
    with pytest.raises(NoReply, match=r"2048") as caught:
        long.result(240)
    assert (caught.value.reason, caught.value.final) == ("refused", True)
    for future in good:
        fits_schema(future.result(240).text)


def test_frames_with_times_that_do_not_fit_are_refused(model):
    body = question().body
    times = {**body["media_io_kwargs"]["video"], "frames_indices": [0, 1]}
    wrong = Question({**body, "media_io_kwargs": {"video": times}})
    with pytest.raises(NoReply, match=r"frames_indices length") as caught:
        model.ask(wrong, fits_schema).result(240)
    assert caught.value.reason == "refused"


def test_an_answer_that_is_cut_off_is_none(model):
    with pytest.raises(NoReply) as caught:
        model.ask(question(max_tokens=8), fits_schema).result(240)
    assert (caught.value.reason, caught.value.final) == ("cut_off", True)


def test_both_say_what_they_are(over_http, in_process, tiny):
    assert "tiny" in over_http.identity
    assert "0.32.0" in over_http.identity
    name, files, dtype, version = in_process.identity.split(", ")
    assert (name, dtype, version) == ("tiny", "bfloat16", "vLLM 0.32.0")
    assert len(files.removeprefix("files ")) == 12
    assert str(tiny) not in in_process.identity
