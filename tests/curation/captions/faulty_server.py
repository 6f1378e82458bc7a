"""An OpenAI-compatible server that misbehaves by script; good answers depend on the question alone.

In a test:

    with FaultyServer(["500", "hang"]) as server:      then good ones
        server.url, server.digests

As a program, which adds a line to the log for each question (its digest and what was done):

    python -m tests.curation.captions.faulty_server --port-file P --log L --script '["500"]'
"""

import argparse
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from curation.captions.answer import CATEGORIES
from dynamicrafter.files import sha256_json, write_text

STATUSES = {"400": 400, "401": 401, "404": 404, "409": 409, "500": 500, "502": 502, "503": 503}
HUGE = 40 << 20


class FaultyServer:
    """Serves on loopback until the block ends; attributes may be changed while it does.

    `script` names the behaviour of the first requests, or is a function (number, body) -> name.
    """

    def __init__(
        self,
        script: Sequence[str] | Callable[[int, dict], str] = (),
        cycle: bool = False,
        log: Path | None = None,
        model: str = "tiny",
        port: int = 0,
    ):
        self.script, self.cycle, self.log = script, cycle, log
        self.model, self.root, self.health, self.delay_s = model, model, 200, 0.0
        self.fingerprint = None
        self.digests, self.gets, self.headers, self.bodies = [], [], [], []
        self.most_at_once = self._at_once = 0
        self.redirected_to = "http://192.0.2.1/v1/chat/completions"
        self._lock, self.closing = threading.Lock(), threading.Event()
        handler = type("Bound", (_Handler,), {"owner": self})
        self._http = _Threads(("127.0.0.1", port), handler)
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self):
        self._thread = threading.Thread(
            target=lambda: self._http.serve_forever(poll_interval=0.02), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.cut_all()

    def behaviour(self, body: bytes) -> tuple[str, dict]:
        question = json.loads(body)
        question.pop("model")
        digest = sha256_json(question)
        with self._lock:
            number = len(self.digests)
            self.digests.append(digest)
            self.bodies.append(body)
            if callable(self.script):
                name = self.script(number, question)
            elif self.cycle and self.script:
                name = self.script[number % len(self.script)]
            else:
                name = self.script[number] if number < len(self.script) else "good"
            if self.log:
                with self.log.open("a") as file:
                    file.write(f"{digest} {name}\n")
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return name, question

    def done(self):
        with self._lock:
            self._at_once -= 1


def good_answer(question: dict) -> str:
    """A valid answer, as a function of the question."""
    digest = sha256_json(question)
    motion = f"{('walking', 'turning', 'falling', 'rolling')[int(digest[0], 16) % 4]} forward"
    answer = {
        "is_dynamic": True,
        "subject": ("man", "dog", "car", "leaf")[int(digest[1], 16) % 4],
        "motion": motion,
        "category": CATEGORIES[int(digest[2:4], 16) % (len(CATEGORIES) - 1)],
        "camera": "static",
        "speed": "normal",
        "confidence": int(digest[4:6], 16) % 101,
    }
    return json.dumps(answer)


def bad_content(name: str, good: str) -> str:
    """What the model writes where it misbehaves."""
    return {
        "cut_json": good[: len(good) // 2],
        "control": good.replace(" forward", "\x00\x1b[31m forward"),
        "escaped_control": good.replace(" forward", "\\u001b[31m forward"),
        "enum": good.replace('"static"', '"sideways"'),
        "prose": f"Sure! Here is the JSON: {good}",
        "fenced": f"```json\n{good}\n```",
        "empty": "",
        "blank": " \n\t",
        "shape": "[1, 2]",
        "surrogate": "\ud800",
    }.get(name, good)


class _Threads(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 256

    def __init__(self, *args):
        self.open_sockets = set()
        super().__init__(*args)

    def process_request(self, request, client_address):
        self.open_sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open_sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        """Clients that go away are what the tests are about."""

    def cut_all(self):
        for request in list(self.open_sockets):
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm, wbufsize = "HTTP/1.1", True, -1
    owner: FaultyServer

    def log_message(self, *args):
        """Nobody reads it."""

    def do_GET(self):
        self.owner.gets.append(self.path)
        owner = self.owner
        if self.path == "/health":
            self._send(owner.health, b"")
        elif self.path == "/v1/models":
            entry = {"id": owner.model, "object": "model", "created": time.time_ns()}
            self._json(200, {"object": "list", "data": [{**entry, "root": owner.root}]})
        elif self.path == "/version":
            self._json(200, {"version": "0.32.0"})
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.owner.headers.append(dict(self.headers))
        name, question = self.owner.behaviour(body)
        try:
            if self.owner.delay_s:
                time.sleep(self.owner.delay_s)
            self._behave(name, question)
            self.wfile.flush()
        finally:
            self.owner.done()

    def _behave(self, name, question):
        if name in STATUSES:
            message = f"scripted {name}\x07 " + "x" * 500
            self._json(STATUSES[name], {"error": {"message": message, "code": name}})
        elif name == "no_times":
            message = "Per-request media_io_kwargs are disabled"
            self._json(400, {"error": {"message": message, "code": 400}})
        elif name.startswith("429"):
            after = {"429": None, "429_after": "0.1", "429_day": "86400"}.get(name, "")
            now = time.time()
            if name == "429_date":
                after = formatdate(now + 1, usegmt=True)
            self._json(429, {"error": {"message": "slow down"}}, {"Retry-After": after})
        elif name == "redirect":
            self._send(307, b"", headers={"Location": self.owner.redirected_to})
        elif name == "html":
            self._send(200, b"<html>Welcome</html>", "text/html")
        elif name == "no_choices":
            self._json(200, {"id": "x", "model": self.owner.model, "choices": []})
        else:
            self._answer(name, question)

    def _answer(self, name, question):
        content = bad_content(name, good_answer(question))
        finish = {"length": "length", "filtered": "content_filter"}.get(name, "stop")
        message = {"role": "assistant", "content": content}
        completion = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": "another" if name == "other_model" else self.owner.model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5},
        }
        if self.owner.fingerprint:
            completion["system_fingerprint"] = self.owner.fingerprint
        data = json.dumps(completion).encode()
        if name == "raw_control":  # inside a string of the body itself
            data = data.replace(b"assistant", b"assis\x01tant")
        wire = {
            *(
                "reset",
                "closed",
                "hang",
                "drip",
                "huge",
                "huge_chunked",
                "endless",
                "short",
                "http10",
            ),
        }
        if name in wire:
            self.close_connection = True
            getattr(self, f"_{name}")(data)
        else:
            self._send(200, data, "text/plain" if name == "plain_type" else "application/json")

    def _reset(self, data):
        self._head(len(data))
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        linger = struct.pack("ii", 1, 0)  # closing sends RST
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.rfile.close()
        self.connection.close()

    def _closed(self, data):
        self.connection.shutdown(socket.SHUT_RDWR)

    def _hang(self, data):
        self.owner.closing.wait(60)

    def _drip(self, data):
        self._head(len(data))
        for byte in data:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.owner.closing.wait(0.05):
                return

    def _huge(self, data):
        self._head(HUGE)
        self._pour()

    def _huge_chunked(self, data):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._pour(lambda block: b"%x\r\n%s\r\n" % (len(block), block))

    def _pour(self, wrap=lambda block: block):
        block = b"x" * 65536
        for _ in range(HUGE // len(block)):
            self.wfile.write(wrap(block))

    def _endless(self, data):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))  # and no last chunk

    def _short(self, data):
        self._head(len(data) + 10)
        self.wfile.write(data)

    def _http10(self, data):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + data)

    def _head(self, length):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _json(self, status, value, headers=None):
        self._send(status, json.dumps(value).encode(), headers=headers)

    def _send(self, status, data, kind="application/json", headers=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.curation.captions.faulty_server")
    parser.add_argument("--script", type=json.loads, default=[], help="a JSON list of behaviours")
    parser.add_argument("--cycle", action="store_true", help="begin the script again at its end")
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    wanted = parser.parse_args()
    server = FaultyServer(wanted.script, wanted.cycle, wanted.log, wanted.model, wanted.port)
    server.delay_s = wanted.delay_s
    with server:
        write_text(wanted.port_file, str(server.port))
        threading.Event().wait()


if __name__ == "__main__":
    main()
