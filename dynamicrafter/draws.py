"""Randomness without state: every draw is a pure function of (seed, sample number, name).

Nothing is read from or written to a global generator, so a resumed run, another number of workers
and another arm of an ablation all see the same clips, noise and timesteps.

    generator(seed, n, "timestep").integers(1000)
    normal(seed, n, "noise", (4, 16, 32, 32))
"""

import hashlib

import numpy as np
import torch


def key(seed: int, n: int, name: str) -> int:
    """The 128-bit key of one draw."""
    text = f"{int(seed)}/{int(n)}/{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def generator(seed: int, n: int, name: str) -> np.random.Generator:
    """A Philox generator for the draw `name` of global sample `n`."""
    return np.random.Generator(np.random.Philox(key=key(seed, n, name)))


def normal(seed: int, n: int, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal float32 tensor of `shape` on the CPU."""
    return torch.from_numpy(generator(seed, n, name).standard_normal(shape, dtype=np.float32))


def torch_generator(seed: int, n: int, name: str) -> torch.Generator:
    """A torch CPU generator for code that insists on one (weight initialisation, dropout)."""
    return torch.Generator().manual_seed(key(seed, n, name) % 2**63)
