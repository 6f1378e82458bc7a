"""A package index and its files on this machine, with the faults that real ones show."""

import hashlib
import http.server
import re
import threading
from pathlib import Path

import pytest
import yaml

from dynamicrafter.assets import download


class Index:
    """Serves `files` at /files/NAME and simple pages that list those of a project."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []  # (path, Range header) of file requests
        self.honours_range = True
        self.break_after: list[int] = []  # for each coming file request: bytes, then the line drops
        self.status: int | None = None
        self.busy: list[tuple[int, dict[str, str]]] = []  # answers, status and headers, before all
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server = server
        self.url = f"http://127.0.0.1:{server.server_port}/simple/"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def _handler(index):
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path.startswith("/simple/"):
                    self.page()
                else:
                    self.file()

            def page(self):
                project = self.path.strip("/").split("/")[-1]
                names = [n for n in index.files if re.match(project.replace("-", "[-_]") + "-", n)]
                links = "".join(f'<a href="/files/{name}">{name}</a>' for name in names)
                self.send_response(200 if names else 404)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(f"<!DOCTYPE html><html><body>{links}</body></html>".encode())

            def file(self):
                asked = self.headers.get("Range")
                index.requests.append((self.path, asked))
                if index.busy:
                    status, headers = index.busy.pop(0)
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    return
                if index.status:
                    self.send_error(index.status)
                    return
                content = index.files[self.path.removeprefix("/files/")]
                start = int(asked[6:].rstrip("-")) if asked and index.honours_range else 0
                self.send_response(206 if start else 200)
                if start:
                    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
                    self.send_header("Content-Range", span)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                stop = start + index.break_after.pop(0) if index.break_after else None
                self.wfile.write(content[start:stop])

        return Handler


@pytest.fixture
def index(monkeypatch):
    index = Index()
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.delenv("PIP_CERT", raising=False)
    yield index
    index.server.shutdown()
    index.server.server_close()


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses between attempts, in seconds; none is really made."""
    made: list[float] = []
    monkeypatch.setattr(download.time, "sleep", made.append)
    return made


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DYNAMICRAFTER_CACHE", str(folder))
    return folder


@pytest.fixture
def add_manifest(tmp_path, monkeypatch):
    """Write a manifest of one source and its assets, and name it in the environment."""

    def add(archive: bytes, file: str, assets: dict[str, dict], **source) -> Path:
        origin = {"origin": "package", "project": "toy", "version": "1.0", "file": file}
        pins = {"sha256": hashlib.sha256(archive).hexdigest(), "size": len(archive)}
        legal = {"licence": "MIT", "attribution": "nobody"}
        for content in assets.values():
            data = content.pop("data")
            content |= {"source": "toy", "kind": "video", "title": "a toy", "size": len(data)}
            content["sha256"] = hashlib.sha256(data).hexdigest()
        manifest = {"sources": {"toy": origin | pins | legal | source}, "assets": assets}
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump(manifest))
        monkeypatch.setenv("DYNAMICRAFTER_MANIFEST", str(path))
        return path

    return add
