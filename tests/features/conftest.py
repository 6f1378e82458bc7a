from pathlib import Path

import pytest

from dynamicrafter import assets


@pytest.fixture(scope="session")
def i3d_weights() -> Path:
    """The Kinetics-400 weights, from the cache or from their index; tests of it are `network`."""
    (path,) = assets.fetch(["i3d-kinetics-400"])
    return path
