#!/bin/sh
# Make the virtual environment: pinned packages, the project itself, one repair.
# Called by `make setup`; PYTHON, VENV and TORCH_INDEX are explained in the Makefile.
set -eu

cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"

"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || {
    echo "dynamicrafter needs Python 3.11 or 3.12; pass PYTHON=<interpreter>" >&2
    exit 2
}
"$PYTHON" -m venv "$VENV" || {
    echo "no virtual environment could be made; on Debian or Ubuntu: apt install python3-venv" >&2
    exit 2
}

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

# torch and torchvision belong together and are pinned together, whatever index they come from.
if [ -n "${TORCH_INDEX:-}" ]; then
    # shellcheck disable=SC2046
    pip install --index-url "$TORCH_INDEX" $(grep -E '^(torch|torchvision)==' environment/main.lock)
fi
pip install -r environment/main.lock
# RapidOCR asks for opencv-python, which fills the same folder as the headless build: that one last.
pip install --force-reinstall --no-deps "$(grep '^opencv-python-headless==' environment/main.lock)"
pip install --no-deps --no-build-isolation --editable .
"$VENV/bin/python" environment/repair_torchvision.py
"$VENV/bin/python" -m pip --disable-pip-version-check check
