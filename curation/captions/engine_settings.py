"""How vLLM is run in a process beside this one, and what tells one model from another."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.captions.transport import plain
from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_json

PIECES, PIECE_BYTES = 64, 1 << 16  # of a file of weights
_TEXTS, _WEIGHTS = (".json", ".jinja", ".txt", ".model"), (".safetensors", ".bin")
SEED = 0  # of the engine; each question has one of its own
STRICT = {"backend": "guidance", "disable_any_whitespace": True}
"""How a schema is enforced. The default lets control characters into a string."""

_HOW_IT_RUNS = (
    "cpu_offload_gb",
    "data_parallel_size",
    "disable_log_stats",
    "distributed_executor_backend",
    "download_dir",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "enforce_eager",
    "kv_cache_memory_bytes",
    "limit_mm_per_prompt",
    "load_format",
    "max_num_batched_tokens",
    "max_num_seqs",
    "mm_encoder_tp_mode",
    "mm_processor_cache_gb",
    "pipeline_parallel_size",
    "tensor_parallel_size",
)
"""Arguments of vLLM that change no answer, but for the last bits."""


@dataclass(frozen=True)
class EngineSettings:
    """How vLLM is run.

    Attributes:
        log: file that gets everything vLLM prints.
        model: folder, or name on the hub.
        python: interpreter of the environment that has vLLM.
        revision: of a model on the hub; None: the newest.
        dtype: of the weights; `auto`: as they are stored, in 16 bits at most.
        max_model_len: tokens of a question and its answer together.
        memory_share: of a GPU's memory that vLLM may fill.
        arguments: further ones of `vllm.LLM`, which knows the same as `vllm serve`.
        in_flight: questions in the process at once.
        start_s: how long loading may take.
        timeout_s: how long it may answer nothing although it is asked.
    """

    log: str
    model: str | None = None
    python: str = ".venv-vllm/bin/python"
    revision: str | None = None
    dtype: str = "auto"
    max_model_len: int = 8192
    memory_share: float = 0.9
    arguments: dict[str, Any] = field(default_factory=dict)
    in_flight: int = 64
    start_s: float = 600.0
    timeout_s: float = 300.0


def check_settings(settings: EngineSettings) -> None:
    """Refuse what cannot be meant.

    Raises:
        InputError: a setting is impossible or missing.
    """
    if not settings.model:
        raise InputError("no model is named; set captioner.model to a folder or a name on the hub")
    for name in ("in_flight", "max_model_len"):
        if getattr(settings, name) < 1:
            raise InputError(f"{name}={getattr(settings, name)} must be 1 at least")
    for name in ("start_s", "timeout_s"):
        if not 0 < getattr(settings, name) < float("inf"):
            raise InputError(f"{name}={getattr(settings, name)} must be a number above 0")
    if not 0 < settings.memory_share <= 1:
        raise InputError(f"memory_share={settings.memory_share} must be above 0 and at most 1")
    if twice := sorted(set(settings.arguments) & set(_own(settings))):
        raise InputError(f"arguments: {', '.join(twice)} cannot be given there; see the settings")


def arguments_of(settings: EngineSettings) -> dict[str, Any]:
    """The arguments of `vllm.LLM`."""
    return {"structured_outputs_config": STRICT, **settings.arguments, **_own(settings)}


def _own(settings: EngineSettings) -> dict[str, Any]:
    folder = _folder(settings.model or "")
    return {
        "model": str(folder) if folder.is_dir() else settings.model,
        "revision": settings.revision,
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "gpu_memory_utilization": settings.memory_share,
        "seed": SEED,
    }


def identity_of(settings: EngineSettings, files: str | None, facts: dict[str, Any]) -> str:
    """What answers depend on besides the question; a moved folder is the same model.

    Args:
        settings: that it was loaded with.
        files: `digest_of_folder`.
        facts: that the process tells: `commit` on the hub or None, `dtype`, `vllm`.
    """
    model = settings.model or ""
    revision = facts["commit"] or settings.revision
    more = {name: value for name, value in settings.arguments.items() if name not in _HOW_IT_RUNS}
    parts = [
        plain(_folder(model).name if files else model),
        f"files {files}" if files else f"revision {plain(str(revision))}",
        facts["dtype"],
        *([f"arguments {sha256_json(more)[:12]}"] if more else []),
        f"vLLM {facts['vllm']}",
    ]
    return ", ".join(parts)


def digest_of_folder(model: str) -> str | None:
    """12 hex digits for the content of a model's folder; None for a name on the hub.

    Configuration and tokenizer are read whole, of each file of weights its size and 64 pieces at
    even distances: a model that was tuned differs in nearly all of them.

    Raises:
        InputError: it is written as a path, but there is no such folder, or no model in it.
    """
    folder = _folder(model)
    if not folder.is_dir():
        if model.startswith((".", "/", "~")) or model.count("/") > 1:
            raise InputError(f"there is no folder {model}; set captioner.model to what is there")
        return None
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json; it is no model as transformers saves it")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if path.suffix in (*_TEXTS, *_WEIGHTS):
            digest.update(f"{path.name}\n{path.stat().st_size}\n".encode())
            digest.update(path.read_bytes() if path.suffix in _TEXTS else _pieces(path))
    return digest.hexdigest()[:12]


def _folder(model: str) -> Path:
    return Path(model).expanduser().resolve()


def _pieces(path: Path) -> bytes:
    with open(path, "rb") as file:
        last = max(os.fstat(file.fileno()).st_size - PIECE_BYTES, 0)
        found = []
        for i in range(PIECES):
            file.seek(last * i // (PIECES - 1))
            found.append(file.read(PIECE_BYTES))
    return b"".join(found)
