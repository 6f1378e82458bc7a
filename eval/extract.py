"""Features of windows, in batches and through the cache: what is stored is never computed again."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynamicrafter.features.cache import feature_key, load_or_compute
from dynamicrafter.progress import progress
from eval.windows import Window

Compute = Callable[[Sequence[Window]], np.ndarray]
"""Windows → their features, [b, d] or more axes."""


@dataclass(frozen=True)
class Store:
    """The cache folder, and how many windows are computed at a time."""

    folder: Path
    batch: int

    def features(
        self,
        windows: Sequence[Window],
        network: str,
        preprocessing: str,
        compute: Compute,
        title: str,
    ) -> np.ndarray:
        """The features of `windows` in their order, [n, ...].

        Args:
            windows: what is seen.
            network: the network with its weights, part of the cache's key.
            preprocessing: how it sees a window, part of the cache's key.
            compute: called for batches that the cache lacks.
            title: of the progress bar.
        """
        rows: list[np.ndarray] = []
        with progress(title, total=len(windows), unit="videos") as advance:
            for start in range(0, len(windows), self.batch):
                part = windows[start : start + self.batch]
                rows += self._part(part, network, preprocessing, compute)
                advance(len(part))
        return np.stack(rows)

    def _part(
        self, windows: Sequence[Window], network: str, preprocessing: str, compute: Compute
    ) -> Iterator[np.ndarray]:
        @functools.cache
        def together() -> np.ndarray:
            """Runs at the first window that the cache lacks, and serves the others."""
            return compute(windows)

        for index, window in enumerate(windows):
            key = feature_key(window.content(), network, preprocessing)

            def one(index: int = index) -> dict[str, np.ndarray]:
                return {"features": np.asarray(together()[index])}

            yield load_or_compute(self.folder, key, one)["features"]
