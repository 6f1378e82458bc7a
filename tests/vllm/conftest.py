"""A real vLLM beside a tiny random model, in an environment of its own."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from curation.captions.client import ClientSettings, HttpModel
from curation.captions.engine import EngineModel
from curation.captions.engine_settings import EngineSettings

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / os.environ.get("VLLM_VENV", ".venv-vllm") / "bin/python"
REQUIRE = "DYNAMICRAFTER_REQUIRE_VLLM"
START_S = 400
TOKENS = 2048  # that fit
SMALL = {"max_num_seqs": 4, "enforce_eager": True, "kv_cache_memory_bytes": 1 << 28}
SERVER = f"""
    -m vllm.entrypoints.openai.api_server --host 127.0.0.1 --served-model-name tiny
    --max-model-len {TOKENS} --max-num-seqs 4 --dtype bfloat16 --enforce-eager
    --kv-cache-memory-bytes {1 << 28} --trust-request-mm-kwargs
    --structured-outputs-config {{"backend":"guidance","disable_any_whitespace":true}}
""".split()


@pytest.fixture(scope="session")
def python():
    """The interpreter of vLLM's environment."""
    if not PYTHON.exists():
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{REQUIRE}=1, but there is no {PYTHON}: make setup-vllm")
        pytest.skip(f"no vLLM at {PYTHON}: make setup-vllm")
    return str(PYTHON)


@pytest.fixture(scope="session")
def surroundings():
    """Environment variables for vLLM on a small machine without network."""
    own = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def tiny(python, surroundings, tmp_path_factory):
    """Folder of the model."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    script = Path(__file__).with_name("tiny_qwen.py")
    subprocess.run([python, script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def settings(python, tiny, tmp_path_factory):
    """`settings(**changes)` for the engine in a process."""
    log = tmp_path_factory.mktemp("engine") / "engine.log"

    def make(**changes):
        own = {"python": python, "model": str(tiny), "log": str(log), "dtype": "bfloat16"}
        sizes = {"max_model_len": TOKENS, "arguments": SMALL, "start_s": START_S}
        return EngineSettings(**{**own, **sizes, **changes})

    return make


@pytest.fixture(scope="session")
def url(python, tiny, tmp_path_factory):
    """A server; it ends with the session."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "server.log"
    with open(log, "wb") as output:
        server = subprocess.Popen(
            [python, *SERVER, "--model", str(tiny), "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _when_well(f"http://127.0.0.1:{port}", server, log)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _when_well(address, server, log):
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return address
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"the server is not well: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def over_http(url):
    model = HttpModel(ClientSettings(servers=[url], timeout_s=120, clip_timeout_s=240))
    yield model
    model.close()


@pytest.fixture(scope="module")
def in_process(settings):
    model = EngineModel(settings())
    yield model
    model.close()
