import hashlib
import http.server
import threading

import pytest

from dynamicrafter import assets
from dynamicrafter.assets.hub import download_released
from dynamicrafter.errors import InputError, MachineError

WEIGHTS = b"weights" * 1000
REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of a model hub that one pinned file needs."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        if self.path != f"/someone/model/resolve/{REVISION}/model.safetensors":
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return False
        self.send_response(200)
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", str(len(WEIGHTS)))
        self.end_headers()
        return True

    def do_GET(self):
        if self.do_HEAD():
            self.wfile.write(WEIGHTS)


@pytest.fixture
def hub(monkeypatch, cache):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    address = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address)
    yield server
    server.shutdown()
    server.server_close()


def add(add_manifest, file="model.safetensors", data=WEIGHTS):
    origin = {"origin": "hub", "repo": "someone/model", "revision": REVISION}
    add_manifest(data, file, {"w": {"data": data}}, **origin)


def test_a_pinned_file_of_the_hub(hub, cache, add_manifest):
    add(add_manifest)
    (path,) = assets.fetch(["w"])
    assert (path.name, path.read_bytes()) == ("w.safetensors", WEIGHTS)
    assert not [p for p in (cache / "downloads").iterdir() if p.is_dir()]


def test_other_content_under_the_same_name_is_refused(hub, add_manifest):
    add(add_manifest, data=WEIGHTS + b"!")
    with pytest.raises(InputError, match="expected sha256"):
        assets.fetch(["w"])


def test_a_file_that_the_hub_has_not(hub, add_manifest):
    add(add_manifest, file="absent.safetensors")
    with pytest.raises(InputError, match=r"the model hub has no someone/model@.*/absent"):
        assets.fetch(["w"])


def test_a_hub_out_of_reach(monkeypatch, cache, add_manifest):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    add(add_manifest)
    with pytest.raises(MachineError, match="cannot reach the model hub"):
        assets.fetch(["w"])


LFS = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def released(hub, monkeypatch, tmp_path):
    """A released file on the hub; yields what the hub states as its digest, to be changed."""
    stated = {"etag": LFS}

    def head(self):
        if not self.path.startswith("/someone/model/resolve/main/model.ckpt"):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return False
        self.send_response(200)
        self.send_header("ETag", f'"{stated["etag"]}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", str(len(WEIGHTS)))
        self.end_headers()
        return True

    monkeypatch.setattr(Hub, "do_HEAD", head)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return stated


def test_a_released_file_is_fetched_once(released, hub):
    path = download_released("someone/model", "model.ckpt")
    assert path.read_bytes() == WEIGHTS
    hub.shutdown()
    hub.server_close()
    assert download_released("someone/model", "model.ckpt") == path


def test_a_released_file_that_is_not_what_the_hub_states_is_removed(released):
    released["etag"] = "0" * 64
    with pytest.raises(InputError, match=r"someone/model/model\.ckpt arrived damaged"):
        download_released("someone/model", "model.ckpt")
    released["etag"] = LFS
    assert download_released("someone/model", "model.ckpt").read_bytes() == WEIGHTS


def test_a_released_file_out_of_reach(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MachineError, match="cannot reach the model hub for someone/model"):
        download_released("someone/model", "model.ckpt")
