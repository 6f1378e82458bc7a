"""Pairs of Gaussians whose Fréchet distance is known, for the tests of intervals."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaussians:
    """Two Gaussians with covariances diag(scale^2); row i of both has correlation `rho`."""

    scale_x: np.ndarray
    scale_y: np.ndarray
    shift: np.ndarray
    rho: float = 0.0

    @property
    def distance(self) -> float:
        return float((self.shift**2).sum() + ((self.scale_x - self.scale_y) ** 2).sum())

    def draw(self, n: int, m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        draws = np.random.default_rng(seed)
        x, other = draws.standard_normal((2, max(n, m), len(self.shift)))
        y = self.rho * x + (1 - self.rho**2) ** 0.5 * other
        return x[:n] * self.scale_x, y[:m] * self.scale_y + self.shift


def gaussians(kind: str, d: int) -> Gaussians:
    one, even = np.ones(d), np.full(d, (5 / d) ** 0.5)
    slope = np.arange(1, d + 1.0) ** -0.5
    return {
        "equal": Gaussians(one, one, 0 * one),
        "shifted": Gaussians(one, one, even),
        "scaled": Gaussians(one, 1.2 * one, 0 * one),
        "power law": Gaussians(slope, 1.1 * slope, 0.3 * slope),
        "paired": Gaussians(one, one, even, rho=0.8),
        "paired, power law": Gaussians(slope, 1.1 * slope, 0.3 * slope, rho=0.6),
    }[kind]
