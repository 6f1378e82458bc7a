"""A network of pixels, so that evaluations can be tested without weights."""

import numpy as np
import pytest

from dynamicrafter.features.network import Network
from eval import measures, pipeline, sensitivity


@pytest.fixture
def pixels_as_network(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In place of I3D: mean colours of a window in time; counts the windows that it saw."""
    seen: list[int] = []

    def load(device: object):
        def see(videos: np.ndarray) -> np.ndarray:
            seen.append(len(videos))
            return colours(videos)

        return see

    network = Network("i3d-tfhub", "i3d-tfhub/colours", "none", load)
    for module in (measures, pipeline, sensitivity):
        monkeypatch.setattr(module, "distance_network", lambda protocol, config: network)
    return seen


def colours(videos: np.ndarray) -> np.ndarray:
    return videos[:, ::5].mean(axis=(2, 3)).reshape(len(videos), -1).astype(np.float32)
