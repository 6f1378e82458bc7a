"""The W&B run, written offline and read back with W&B's own tool."""

import contextlib
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dynamicrafter import tracking
from dynamicrafter.errors import InputError, MachineError

OFFLINE = OmegaConf.create(
    {"mode": "offline", "project": "dynamicrafter-toolkit", "entity": None, "group": None}
)


def read_back(folder: Path) -> list[dict]:
    wandb = Path(sys.executable).with_name("wandb")
    records = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        answer = subprocess.run(
            [wandb, "leet", "inspect", "--json", file], capture_output=True, text=True, check=True
        )
        records += [json.loads(line) for line in answer.stdout.splitlines()]
    return records


def history(records: list[dict], key: str) -> list[float]:
    found = []
    for record in records:
        if record.get("type") == "history":
            text = json.dumps(record)
            if key in text:
                found.append(text)
    return found


def test_losses_tables_and_the_same_id_after_a_restart(tmp_path):
    with tracking.open_run(OFFLINE, tmp_path, "train", {"steps": 3}) as run:
        first = run.id
        run.log(1, {"context/loss": 0.5})
        run.log(2, {"context/loss": 0.25})
        run.table("funnel", ["step", "kept"], [["black", 3], ["still", None]])
        run.summary({"psnr_db": 21.5})
    with tracking.open_run(OFFLINE, tmp_path, "train", {"steps": 3}) as run:
        assert run.id == first
        run.log(3, {"context/loss": 0.125})
    records = read_back(tmp_path)
    assert len(history(records, "context/loss")) == 3
    assert len(history(records, "funnel")) == 1
    assert "21.5" in json.dumps(records)


@pytest.mark.parametrize(("name", "shown"), [(None, "folder"), ("wo_vdg-seed-7-train", None)])
def test_a_run_is_called_as_its_folder_or_as_asked(tmp_path, name, shown):
    settings = OmegaConf.merge(OFFLINE, {"name": name})
    with tracking.open_run(settings, tmp_path / "folder", "train", {}) as run:
        assert run._run.name == (name or shown)


def test_no_secret_reaches_the_run_folder(tmp_path, monkeypatch):
    canary = "canary-31415926535"
    monkeypatch.setenv("WANDB_API_KEY", canary)
    monkeypatch.setenv("OPENAI_API_KEY", canary + "-b")
    monkeypatch.setattr(sys, "argv", ["train", f"note={canary}"])
    config = {"note": f"x {canary}", "caption": {"api_key": "typed-by-mistake"}}
    with tracking.open_run(OFFLINE, tmp_path, "train", config) as run:
        run.log(1, {"loss": 1.0})
        run.table("captions", ["text"], [[f"says {canary}-b"]])
        run.summary({"note": canary, "seen": "visible-marker"})
    contents = [path.read_bytes() for path in tmp_path.rglob("*.wandb")]
    assert b"visible-marker" in b"".join(contents), "the scan below must be able to see text"
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert canary.encode() not in data, path
            assert b"typed-by-mistake" not in data, path


def test_disabled_writes_nothing(tmp_path):
    settings = OmegaConf.merge(OFFLINE, {"mode": "disabled"})
    with tracking.open_run(settings, tmp_path, "train", {}) as run:
        run.log(1, {"loss": 1.0})
    assert not (tmp_path / "wandb").exists()


def test_an_error_inside_is_raised_and_the_run_is_closed(tmp_path):
    def failing_work():
        with tracking.open_run(OFFLINE, tmp_path, "train", {}) as run:
            run.log(1, {"loss": 0.5})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_work()
    assert len(history(read_back(tmp_path), "loss")) == 1


ONLINE = OmegaConf.merge(
    OFFLINE, {"mode": "online", "start_timeout_s": 1.5, "finish_timeout_s": 3, "required": False}
)
BUCKET = {
    "bucket": {
        "id": "x",
        "name": "abc",
        "displayName": "n",
        "project": {"name": "p", "entity": {"name": "e"}},
    },
    "inserted": True,
}


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as W&B does when a run begins, or with a status, or not at all."""

    status = 200
    awake = threading.Event()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.awake.wait(60)
        answer = {}
        if self.path == "/graphql":
            begins = b"UpsertBucket" in body
            answer = {"data": {"upsertBucket": BUCKET} if begins else {"model": None}}
        data = json.dumps(answer).encode()
        with contextlib.suppress(OSError):  # it was asked by somebody who has gone
            self.send_response(self.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    do_GET = do_PUT = do_POST

    def log_message(self, *args):
        pass


@pytest.fixture
def wandb_server(monkeypatch):
    """A scripted W&B server, the only one that W&B knows here."""
    handler = type("Handler", (Server,), {"awake": threading.Event()})
    handler.awake.set()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    yield handler
    handler.awake.set()
    server.shutdown()
    server.server_close()


def refuse(handler, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free.getsockname()[1]}")


def hang(handler, monkeypatch):
    handler.awake.clear()


def fail(handler, monkeypatch):
    handler.status = 500


@pytest.mark.parametrize("trouble", [refuse, hang, fail])
def test_where_wandb_cannot_be_reached_the_run_is_recorded_offline(
    tmp_path, monkeypatch, capfd, wandb_server, trouble
):
    trouble(wandb_server, monkeypatch)
    began = time.monotonic()
    with tracking.open_run(ONLINE, tmp_path, "train", {}) as run:
        run.log(1, {"loss": 0.5})
        run.table("funnel", ["step"], [["black"]])
    assert time.monotonic() - began < 20  # the server waits a minute
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("W&B cannot be reached (")
    assert "recorded offline" in lines[0]
    records = read_back(tmp_path)
    assert len(history(records, "loss")) == 1
    assert len(history(records, "funnel")) == 1


def test_a_command_that_requires_wandb_stops_without_it(tmp_path, monkeypatch, wandb_server):
    refuse(wandb_server, monkeypatch)
    required = OmegaConf.merge(ONLINE, {"required": True})
    run = tracking.open_run(required, tmp_path, "train", {})
    with pytest.raises(MachineError, match=r"cannot be reached.*tracking=offline"):
        run.__enter__()


def test_a_server_that_falls_silent_holds_up_nothing(tmp_path, capfd, wandb_server):
    began = time.monotonic()
    with tracking.open_run(ONLINE, tmp_path, "train", {}) as run:
        wandb_server.awake.clear()
        entered = time.monotonic()
        for step in range(200):
            run.log(step, {"loss": 0.5})
        for _ in range(3):  # W&B asks its server before it takes a table
            run.table("funnel", ["step"], [["black"]])
        assert time.monotonic() - entered < 5
    assert time.monotonic() - began < 25
    lines = capfd.readouterr().err.strip().splitlines()
    assert 1 <= len(lines) <= 2, lines
    assert all(line.startswith("W&B: ") for line in lines)
    assert not list(tmp_path.glob("wandb/offline-run-*"))
    assert list(tmp_path.glob("wandb/run-*/*.wandb"))


def test_a_call_that_fails_is_told_once_and_stops_nothing(tmp_path, capfd):
    class Broken:
        id = "x"
        step = 0

        def log(self, *args, **kwargs):
            raise ConnectionResetError("Connection lost")

    calls = tracking._Calls(in_background=True)
    run = tracking.Run(Broken(), calls)
    for step in range(5):
        run.log(step, {"loss": 1.0})
    calls.close(5)
    assert capfd.readouterr().err == (
        "W&B: ConnectionResetError: Connection lost; the work goes on\n"
    )


@pytest.mark.parametrize("key", [None, "short"])
def test_a_missing_key_and_what_is_none_are_errors_of_the_person(
    tmp_path, monkeypatch, wandb_server, key
):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(InputError, match="set WANDB_API_KEY or pass tracking=offline"):
        tracking.open_run(ONLINE, tmp_path, "train", {}).__enter__()


def test_a_histogram_keeps_its_counts_and_edges(tmp_path):
    with tracking.open_run(OFFLINE, tmp_path, "curate", {}) as run:
        run.histogram("measures/sharpness", [3, 0, 7], [0.0, 0.5, 1.0, 1.5])
    (found,) = history(read_back(tmp_path), "measures/sharpness")
    assert "[3,0,7]" in found.replace(" ", "").replace("\\", "")
    assert "1.5" in found
