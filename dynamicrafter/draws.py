"""Randomness without state: every draw is a pure function of (seed, sample number, name).

Nothing is read from or written to a global generator, so a resumed run, another number of workers
and another arm of an ablation all see the same clips, noise and timesteps.

    generator(seed, n, "timestep").integers(1000)
    normal(seed, n, "noise", (4, 16, 32, 32))
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch  # imported below, for most draws need none


def key(seed: int, n: int, name: str) -> int:
    """The 128-bit key of one draw."""
    text = f"{int(seed)}/{int(n)}/{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def generator(seed: int, n: int, name: str) -> np.random.Generator:
    """A Philox generator for the draw `name` of global sample `n`."""
    return np.random.Generator(np.random.Philox(key=key(seed, n, name)))


def normal(seed: int, n: int, name: str, shape: tuple[int, ...]) -> "torch.Tensor":
    """Standard normal float32 tensor of `shape` on the CPU."""
    import torch

    return torch.from_numpy(generator(seed, n, name).standard_normal(shape, dtype=np.float32))


@dataclass(frozen=True)
class BatchDraws:
    """The draws of a batch, one row per sample, each a function of the sample's own number.

    Attributes:
        seed: the run's seed.
        stream: prefix of every name, so that two stages draw apart.
        numbers: the global sample numbers of the batch.
    """

    seed: int
    stream: str
    numbers: Sequence[int]

    def normal(self, name: str, shape: tuple[int, ...]) -> "torch.Tensor":
        """Standard normal `[b, *shape]`."""
        import torch

        return torch.stack([normal(self.seed, n, self._name(name), shape) for n in self.numbers])

    def uniform(self, name: str) -> "torch.Tensor":
        """Uniform in [0, 1), `[b]`, float32."""
        import torch

        rows = [g.random(dtype=np.float32) for g in self._generators(name)]
        return torch.tensor(rows)

    def integers(self, name: str, low: int, high: int) -> "torch.Tensor":
        """Integers in [low, high), `[b]`, int64."""
        import torch

        return torch.tensor([int(g.integers(low, high)) for g in self._generators(name)])

    def _generators(self, name: str) -> Iterator[np.random.Generator]:
        return (generator(self.seed, n, self._name(name)) for n in self.numbers)

    def _name(self, name: str) -> str:
        return f"{self.stream}/{name}"
