"""The run folder: what made a result, whether it is whole, and whether this command may resume it.

    run.json    resolved config, its digest, digests of the inputs, versions, revision, command line
    done.json   the summary; written last, so it exists only beside a whole result

Keys named in the config's `resume_ignores` (workers, tracking, run_dir …) do not change the result
and may differ between the runs that share a folder.
"""

import functools
import importlib.metadata
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dynamicrafter import files
from dynamicrafter.errors import InputError
from dynamicrafter.redaction import redact, redact_arguments

RUN, DONE = "run.json", "done.json"
ON_CHANGE = ("refuse", "restart", "redo")


def result_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that matters to the result, secrets masked."""
    ignored = {"resume_ignores", "on_change", *config.get("resume_ignores", [])}
    return redact({key: value for key, value in config.items() if key not in ignored})


def digest(config: dict[str, Any], inputs: dict[str, str]) -> str:
    """Digest of everything that decides the result: config and contents of the inputs."""
    return files.sha256_json({"config": result_config(config), "inputs": inputs})


def finished(folder: Path, run_digest: str) -> dict[str, Any] | None:
    """The summary of a whole result of exactly this run, or None."""
    if not (folder / DONE).exists():
        return None
    done = files.read_json(folder / DONE)
    return done["summary"] if done["digest"] == run_digest else None


def has_begun(folder: Path, run_digest: str) -> bool:
    """Whether `folder` holds exactly this run, whole or not."""
    return (folder / RUN).exists() and files.read_json(folder / RUN)["digest"] == run_digest


def begin(folder: Path, config: dict[str, Any], inputs: dict[str, str]) -> None:
    """Open `folder` for this run, as the config's `on_change` says if it holds another one.

    `refuse`: another config or other inputs are an error that names them. `restart`: the other run
    is moved aside, to `<folder>.1` and so on. `redo`: the task itself knows what it can reuse.

    Raises:
        InputError: the folder holds another run and `on_change` is `refuse`.
    """
    if config["on_change"] not in ON_CHANGE:
        raise InputError(f"on_change={config['on_change']}; choose {', '.join(ON_CHANGE)}")
    if (folder / RUN).exists():
        changed = differences(files.read_json(folder / RUN), config, inputs)
        if changed and config["on_change"] == "refuse":
            raise InputError(
                f"{folder} holds a run with other settings ({', '.join(changed)}); choose another "
                "run_dir, or pass on_change=restart to move that run aside"
            )
        if changed and config["on_change"] == "restart":
            _move_aside(folder)
    files.sweep_temporaries(folder)
    (folder / DONE).unlink(missing_ok=True)
    files.write_json(folder / RUN, provenance(config, inputs))


def finish(folder: Path, run_digest: str, summary: dict[str, Any], seconds: float) -> None:
    """Declare the result in `folder` whole, and tidy up behind processes that died on the way."""
    files.sweep_temporaries(folder)
    done = {"digest": run_digest, "summary": summary, "seconds": round(seconds, 2)}
    files.write_json(folder / DONE, redact(done))


def differences(
    before: dict[str, Any], config: dict[str, Any], inputs: dict[str, str]
) -> list[str]:
    """Dotted names of the settings and inputs that differ from those in a `run.json`."""
    old = _flatten({**result_config(before["config"]), "inputs": before["inputs"]})
    new = _flatten({**result_config(config), "inputs": inputs})
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def provenance(config: dict[str, Any], inputs: dict[str, str]) -> dict[str, Any]:
    """What made a result: config, inputs, versions, revision, command line, time of the start."""
    return {
        "config": redact(config),
        "digest": digest(config, inputs),
        "inputs": inputs,
        "command": redact_arguments(sys.argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "packages": _packages(),
        "revision": _git_revision(),
    }


@functools.cache  # to read them takes a quarter of a second
def _packages() -> dict[str, str]:
    """Versions of all installed packages by name."""
    known = (package.metadata for package in importlib.metadata.distributions())
    return {metadata["Name"]: metadata["Version"] for metadata in known}


def _git_revision() -> str:
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return answer.stdout.strip() or "unknown"


def _move_aside(folder: Path) -> None:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    aside.mkdir()
    # The lock is ours and stays. `run.json` goes last: as long as it is here, the rest is not ours.
    others = [item for item in folder.iterdir() if item.name not in (".lock", RUN)]
    for item in [*others, folder / RUN]:
        item.rename(aside / item.name)


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        parts = (_flatten(item, f"{prefix}{key}.") for key, item in value.items())
        return {key: item for part in parts for key, item in part.items()}
    return {prefix.rstrip("."): value}
