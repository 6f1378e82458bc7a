"""The cache of replies: nothing is asked twice, nothing good is lost, damage costs only itself."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from curation.captions import answers_file, cache
from curation.captions.answer import BadAnswer
from curation.captions.cache import CachedModel, ReplyCache
from curation.captions.question import NoReply, Question, Reply
from dynamicrafter.errors import InputError, MachineError

WRITER = """
import sys, threading
from curation.captions.cache import ReplyCache
cache, name, count = ReplyCache(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for kept in [cache.put("m", f"{name}{n}", f"text {name}{n}", n, 1) for n in range(count)]:
    kept.result(10)
print("kept", flush=True)
if name == "killed":
    threading.Event().wait()
cache.close()
"""


def start_writer(folder, name, count):
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def opened(folder):
    held = ReplyCache(folder)
    try:
        yield held
    finally:
        held.close()


def fill(folder, names, identity="m"):
    with opened(folder) as held:
        for kept in [held.put(identity, name, f"text {name}", 3, 4) for name in names]:
            kept.result(5)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_reply_is_known_at_once_and_in_the_next_run_for_its_model_alone(tmp_path):
    with opened(tmp_path) as held:
        assert held.get("m", "a") is None
        held.put("m", "a", "said é\u2028", 3, 4).result(5)
        assert held.get("m", "a") == ("said é\u2028", 3, 4)
    with opened(tmp_path) as held:
        assert held.get("m", "a") == ("said é\u2028", 3, 4)
        assert held.get("n", "a") is None
        assert held.get("m", "b") is None
    assert names_in(tmp_path) == ["answers.sqlite"]


def test_two_processes_write_one_folder_at_once(tmp_path):
    writers = [start_writer(tmp_path, name, 700) for name in ("one", "two")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with opened(tmp_path) as held:
        for name in ("one", "two"):
            assert all(held.get("m", f"{name}{n}") == (f"text {name}{n}", n, 1) for n in range(700))
    assert names_in(tmp_path) == ["answers.sqlite"]


def test_what_was_kept_survives_a_kill_and_a_living_writer_is_read_where_it_lies(tmp_path):
    writer = start_writer(tmp_path, "killed", 300)
    assert writer.stdout.readline() == "kept\n"
    with opened(tmp_path) as held:
        assert all(held.get("m", f"killed{n}") for n in range(300))
    assert len(names_in(tmp_path)) == 1
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    with opened(tmp_path) as held:
        assert names_in(tmp_path) == ["answers.sqlite"]
        assert all(held.get("m", f"killed{n}") for n in range(300))


def test_the_file_of_another_machine_is_read_and_taken_in_when_it_is_old(tmp_path):
    fill(tmp_path, ["a"])
    foreign = tmp_path / "writer-00aa00-77-0badcafe.sqlite"
    (tmp_path / "answers.sqlite").rename(foreign)
    with opened(tmp_path) as held:
        assert held.get("m", "a") == ("text a", 3, 4)
    assert names_in(tmp_path) == [foreign.name]
    os.utime(foreign, (time.time() - 2 * 86400,) * 2)
    with opened(tmp_path) as held:
        assert held.get("m", "a") == ("text a", 3, 4)
    assert names_in(tmp_path) == ["answers.sqlite"]


@pytest.mark.parametrize("damage", ["text", "middle", "cut", "other table"])
def test_a_damaged_file_is_set_aside_and_costs_its_own_replies(tmp_path, damage, capsys):
    names = [f"n{number}" for number in range(400)]
    fill(tmp_path, names)
    path = tmp_path / "answers.sqlite"
    data = path.read_bytes()
    if damage == "other table":
        path.unlink()
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE answers (id INTEGER)")
    else:
        size = len(data)
        broken = {
            "text": b"no database at all\n" * 99,
            "middle": data[:4096] + b"\xff" * (size - 8192) + data[-4096:],
            "cut": data[: size // 2],
        }
        path.write_bytes(broken[damage])
    with opened(tmp_path) as held:
        assert all(held.get("m", name) in (None, (f"text {name}", 3, 4)) for name in names)
        held.put("m", "new", "text new", 0, 0).result(5)
    assert "is damaged" in capsys.readouterr().err
    with opened(tmp_path) as held:
        assert held.get("m", "new") == ("text new", 0, 0)
    assert sum("damaged" in name for name in names_in(tmp_path)) == 1


def test_a_full_disk_is_said_by_the_reply_that_was_to_be_kept(small_disk):
    folder, resize = small_disk
    with opened(folder / "cache") as held:
        with pytest.raises(MachineError, match=r"full.*make room"):
            held.put("m", "a", "x" * (2 << 20), 0, 0).result(5)
        resize("8m")
        held.put("m", "b", "text b", 0, 0).result(5)
        assert held.get("m", "b") == ("text b", 0, 0)


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be the cache of captions"):
        ReplyCache(tmp_path / "file")


def test_taking_in_goes_on_where_the_time_ended_it(tmp_path, monkeypatch):
    monkeypatch.setattr(answers_file, "ROWS", 10)
    monkeypatch.setattr(cache, "CLOSE_S", 0.0)
    names = [f"n{number}" for number in range(25)]
    with opened(tmp_path) as held:
        [held.put("m", name, f"text {name}", 3, 4) for name in names]
        held.put("m", "last", "text last", 3, 4).result(5)
    assert len(names_in(tmp_path)) == 2
    with opened(tmp_path) as held:
        assert names_in(tmp_path) == ["answers.sqlite"]
        assert all(held.get("m", name) == (f"text {name}", 3, 4) for name in names)


class Scripted:
    """A model whose futures the test settles."""

    identity = "m"

    def __init__(self):
        self.asked, self.is_closed = [], False

    def ask(self, question, check):
        future = Future()
        self.asked.append((question, future))
        return future

    def close(self):
        self.is_closed = True
        for _, future in self.asked:
            if not future.done():
                future.set_exception(NoReply("closed", "closed", final=False))


def question(number):
    return Question({"n": number})


def test_known_questions_are_not_asked_and_equal_ones_once(tmp_path):
    model = Scripted()
    cached = CachedModel(model, ReplyCache(tmp_path))
    first, same, other = (cached.ask(question(n), str) for n in (1, 1, 2))
    assert [asked.body for asked, _ in model.asked] == [{"n": 1}, {"n": 2}]
    model.asked[0][1].set_result(Reply("one", 2, 3, 4))
    assert first.result(5) == same.result(5) == Reply("one", 2, 3, 4)
    assert not other.done()
    assert cached.ask(question(1), str).result(5) == Reply("one", 0, 3, 4)
    assert cached.cached == 2
    cached.close()
    assert model.is_closed
    with pytest.raises(NoReply):
        other.result(5)
    again = CachedModel(Scripted(), ReplyCache(tmp_path))
    assert again.ask(question(1), str).result(5).text == "one"
    again.close()


def test_a_reply_is_handed_on_when_it_is_on_the_disk(tmp_path):
    model, held = Scripted(), ReplyCache(tmp_path)
    cached, kept = CachedModel(model, held), Future()
    held.put = lambda *reply: kept
    future = cached.ask(question(1), str)
    model.asked[0][1].set_result(Reply("one", 1, 0, 0))
    assert not future.done()
    kept.set_result(None)
    assert future.result(1).text == "one"
    cached.close()


def test_bad_ends_are_not_kept_and_can_be_asked_again(tmp_path):
    model = Scripted()
    cached = CachedModel(model, ReplyCache(tmp_path))
    future = cached.ask(question(1), str)
    model.asked[0][1].set_exception(NoReply("empty", "empty", final=True))
    with pytest.raises(NoReply):
        future.result(5)
    again = cached.ask(question(1), str)
    model.asked[1][1].set_result(Reply("one", 1, 0, 0))
    assert again.result(5).text == "one"

    def stricter(text):
        raise BadAnswer("wrong_value", text)

    cached.ask(question(1), stricter)
    assert len(model.asked) == 3
    cached.close()


def test_many_threads_ask_each_question_once(tmp_path):
    model = Scripted()
    answer, lock = model.ask, threading.Lock()

    def ask(asked, check):
        with lock:
            future = answer(asked, check)
        threading.Timer(0.01, future.set_result, [Reply(str(asked.body), 1, 0, 0)]).start()
        return future

    model.ask = ask
    cached, wrong = CachedModel(model, ReplyCache(tmp_path)), []

    def work():
        for number in range(40):
            if cached.ask(question(number), str).result(10).text != str({"n": number}):
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join(30) for thread in threads]
    cached.close()
    assert wrong == []
    assert len(model.asked) == 40
    assert cached.cached == 200
