"""Several servers, servers that go down and come back, and what is refused at the start."""

import re
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from omegaconf import OmegaConf

from curation.captions import servers
from curation.captions.answer import parse_answer
from curation.captions.client import ClientSettings, HttpModel
from curation.captions.question import NoReply
from curation.captions.served import choose
from curation.captions.transport import address, plain
from curation.captions.waits import asked_to_wait, wait_before
from dynamicrafter.errors import InputError, MachineError
from tests.curation.captions.faulty_server import FaultyServer, good_answer
from tests.curation.captions.test_client import QUICK, model_of, question


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr(servers, "FIRST_PAUSE_S", 0.05)


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def test_two_servers_share_the_questions_and_one_may_die():
    with FaultyServer() as stays:
        with FaultyServer() as dies:
            stays.delay_s = dies.delay_s = 0.02
            model = model_of(stays, dies, in_flight=4)
            first = [model.ask(question(number), parse_answer) for number in range(30)]
            [future.result(5) for future in first]
            dies.script = lambda number, body: "hang"
            second = [model.ask(question(number), parse_answer) for number in range(30, 35)]
        second += [model.ask(question(number), parse_answer) for number in range(35, 60)]
        for number, future in enumerate([*first, *second]):
            assert future.result(5).text == good_answer(question(number).body)
        assert 10 <= len(set(dies.digests)) <= 39
        assert max(stays.most_at_once, dies.most_at_once) <= 4
        model.close()


def test_a_server_that_comes_back_is_asked_again_and_questions_wait_for_it():
    with FaultyServer() as server:
        model = model_of(server)
        model.ask(question(), parse_answer).result(5)
    asked = [model.ask(question(number), parse_answer) for number in range(1, 6)]
    time.sleep(0.5)
    assert not any(future.done() for future in asked)
    with FaultyServer(port=server.port):
        for number, future in enumerate(asked, 1):
            assert future.result(5).text == good_answer(question(number).body)
        model.close()


def test_a_server_that_comes_back_with_another_model_ends_the_run():
    with FaultyServer() as server:
        model = model_of(server)
    asked = model.ask(question(), parse_answer)
    time.sleep(0.3)  # it is found to be down meanwhile
    with (
        FaultyServer(port=server.port, model="larger"),
        pytest.raises(InputError, match=r"has 'larger, .*'tiny, server 0\.32\.0'.*run_dir"),
    ):
        asked.result(5)
    model.close()


def test_vllms_404_for_a_model_that_is_gone_names_both():
    with FaultyServer(["404"]) as server:
        model = model_of(server)
        server.root = "/elsewhere"
        with pytest.raises(InputError, match=r"has 'tiny, from /elsewhere, .* had 'tiny, server"):
            model.ask(question(), parse_answer).result(5)
        model.close()


def test_no_server_for_too_long_ends_the_run_with_the_urls_but_no_password():
    began = time.monotonic()
    url = f"http://me:hush@127.0.0.1:{free_port()}/v1"
    with pytest.raises(MachineError, match=r"no server answered for 0 s: http://127") as caught:
        HttpModel(ClientSettings([url], **{**QUICK, "wait_s": 0.4}))
    assert 0.3 < time.monotonic() - began < 3
    assert "hush" not in str(caught.value)
    with FaultyServer() as server:
        model = model_of(server, wait_s=0.4)
    asked = [model.ask(question(number), parse_answer) for number in range(3)]
    for future in asked:
        with pytest.raises(MachineError, match=r"start it and go on"):
            future.result(5)
    model.close()


def test_an_ill_server_gets_no_question_until_it_is_well():
    with FaultyServer() as well, FaultyServer() as ill:
        ill.health = 503
        model = model_of(well, ill)
        [model.ask(question(number), parse_answer).result(5) for number in range(6)]
        assert len(well.digests) == 6
        ill.health = 200
        deadline = time.monotonic() + 5
        while not ill.digests and time.monotonic() < deadline:
            asked = [model.ask(question(number), parse_answer) for number in range(6)]
            [future.result(5) for future in asked]
        assert ill.digests
        model.close()


def test_servers_with_different_models_are_refused_by_name():
    with FaultyServer() as one, FaultyServer() as two:
        one.root, two.root = "a", "b"
        with pytest.raises(InputError) as caught:
            model_of(one, two)
    for server in (one, two):
        named = f"{server.url.removesuffix('/v1')} ha[sd] 'tiny, from {server.root}, server 0.32.0'"
        assert re.search(named, str(caught.value))


def test_the_name_and_login_of_a_server_are_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with FaultyServer() as server:
        url = server.url.replace("//", "//me:hush@")
        model = HttpModel(ClientSettings([url, url], model="tiny", **QUICK))
        model.ask(question(), parse_answer).result(5)
        assert server.headers[0]["Authorization"] == "Basic bWU6aHVzaA=="
        assert model.identity == "tiny, server 0.32.0"
        model.close()
        with pytest.raises(InputError, match=r"no model 'big', it serves tiny"):
            HttpModel(ClientSettings([server.url], model="big", **QUICK))


def test_closing_ends_what_hangs_at_once():
    with FaultyServer(lambda number, body: "hang") as server:
        model = model_of(server, timeout_s=60.0, clip_timeout_s=60.0, in_flight=2)
        asked = [model.ask(question(number), parse_answer) for number in range(4)]
        held = []
        blocked = threading.Thread(target=lambda: held.append(model.ask(question(9), parse_answer)))
        blocked.start()
        blocked.join(0.2)
        assert blocked.is_alive()
        began = time.monotonic()
        model.close()
        blocked.join(5)
        assert time.monotonic() - began < 3
        for future in [*asked, *held, model.ask(question(10), parse_answer)]:
            with pytest.raises(NoReply, match=r"closed") as caught:
                future.result(5)
            assert not caught.value.final
        model.close()
    assert len(held) == 1


def test_a_question_that_rests_makes_room_for_others():
    def script(number, body):
        return "500" if body["messages"][0]["content"] in ("clip 0", "clip 1", "clip 2") else "good"

    with FaultyServer(script) as server:
        slow = {"retry_base_s": 40.0, "retry_max_s": 40.0, "clip_timeout_s": 300.0}
        model = model_of(server, in_flight=1, **slow)
        [model.ask(question(number), parse_answer) for number in range(3)]
        for number in range(3, 9):
            assert model.ask(question(number), parse_answer).result(5).requests == 1
        model.close()


def test_a_callback_that_asks_is_told_so():
    with FaultyServer() as server:
        model, seen = model_of(server), []

        def again(future):
            with pytest.raises(RuntimeError, match=r"callback") as caught:
                model.ask(question(1), parse_answer)
            seen.append(caught.value)

        server.delay_s = 0.1
        future = model.ask(question(), parse_answer)
        future.add_done_callback(again)
        future.result(5)
        model.close()
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"servers": []}, r"no server is named"),
        ({"servers": ["localhost:8000"]}, r"'localhost:8000' is no server"),
        ({"servers": ["ftp://host"]}, r"is no server"),
        ({"servers": ["http://a:b@host/?q=1"]}, r"'http://host/\?q=1' is no server"),
        ({"tries": 0}, r"tries=0"),
        ({"timeout_s": float("nan")}, r"timeout_s=nan"),
    ],
)
def test_impossible_settings_are_refused(changes, said):
    with pytest.raises(InputError, match=said):
        HttpModel(ClientSettings(**{"servers": ["http://127.0.0.1:1"], **changes}))


def test_settings_go_through_the_configuration():
    section = {"servers": ["http://h:1"], "in_flight": 3}
    merged = OmegaConf.merge(OmegaConf.structured(ClientSettings), section)
    assert OmegaConf.to_object(merged) == ClientSettings(["http://h:1"], in_flight=3)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://h:8000/v1/", "http://h:8000"),
        ("https://h/tenant/v1", "https://h/tenant"),
        ("http://u:p@[::1]:80", "http://[::1]:80"),
    ],
)
def test_base_urls(url, base):
    assert address(url).url == base


def test_which_model_of_a_list_is_meant():
    at = address("http://h")
    listed = {
        "small": {"id": "small", "root": "org/vl"},
        "alias": {"id": "alias", "root": "org/vl"},
        "tuned": {"id": "tuned", "root": "/lora", "revision": "r1\n"},
    }
    with pytest.raises(InputError, match=r"serves small, alias, tuned; name one"):
        choose(at, listed, None, None)
    small, tuned = (choose(at, listed, name, "0.32.0") for name in ("small", "tuned"))
    assert small.identity == "small, from org/vl, server 0.32.0"
    assert small.aliases == {"small", "alias", "org/vl"}
    assert tuned.identity == "tuned, from /lora, revision r1, server 0.32.0"


def test_waits():
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    later = format_datetime(now + timedelta(seconds=90), usegmt=True)
    date = format_datetime(now, usegmt=True)
    assert asked_to_wait({"retry-after": "2.5"}) == 2.5
    assert asked_to_wait({"retry-after": later, "date": date}) == 90
    assert asked_to_wait({"retry-after": date, "date": later}) == 0
    for none in ("", "soon", "-1", "nan", "Sun, 99 Foo"):
        assert asked_to_wait({"retry-after": none}) is None
    drawn = [wait_before(3, 0.5, 30.0) for _ in range(2000)]
    assert 0 <= min(drawn) < 0.1
    assert 1.9 < max(drawn) <= 2.0
    assert max(wait_before(10_000, 0.5, 3.0) for _ in range(500)) <= 3.0


def test_a_strangers_text_becomes_one_plain_line():
    assert plain("a\x1b[31m\u202e b\n\tc\ud800" + "d" * 500) == "a [31m b c " + "d" * 189
