"""Dropout whose masks are a function of the sample, not of the batch around it.

A mask comes from a hash of (the sample's key, the layer's, the element): the same on every rank, in
every micro-batch, and once more where a layer is recomputed in the backward pass. So no generator's
state is kept anywhere. Outside `keyed_dropout` it is PyTorch's own dropout.
"""

import contextlib
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicrafter import draws

ROUNDS = ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, None))  # "lowbias32" of C. Wellons


class Dropout(nn.Module):
    """Set a share `p` of the elements to zero in training, and scale the others up."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        # Both are set by `keyed_dropout`, int32: of the samples [b, 2], of this layer [2].
        self.keys: Tensor | None = None
        self.salt: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`[n, ...]` → the same; n is a multiple of the number of keys, a sample's rows together.

        The mask of a sample is a function of its key alone.
        """
        if not self.training or self.p == 0:
            return x
        if self.keys is None or self.salt is None:
            return F.dropout(x, self.p)
        bits = _uniform_bits(self.keys ^ self.salt, x.numel() // len(self.keys))
        kept = bits >= round(self.p * 2**31)
        return x * (kept.view(x.shape) / (1 - self.p)).to(x.dtype)


@contextlib.contextmanager
def keyed_dropout(
    module: nn.Module, seed: int, name: str, numbers: Sequence[int]
) -> Iterator[None]:
    """Inside the block, backward included, masks are functions of (seed, sample, name, layer).

    Args:
        module: all its `Dropout` layers take part, told apart by their names.
        seed: of the run.
        name: of the draw (`dynamicrafter.draws`).
        numbers: the global sample numbers of the batch, in its order.
    """
    device = next(module.parameters()).device
    layers, places = _participants(module, device)
    words = _words([draws.key(seed, n, name) for n in numbers], device)
    # The keys lie where they lay before: there a recorded pass looks for them.
    keys = places.setdefault(len(words), words)
    keys.copy_(words)
    try:
        for layer, salt in layers:
            layer.keys, layer.salt = keys, salt
        yield
    finally:
        for layer, _ in layers:
            layer.keys = layer.salt = None


Participants = tuple[list[tuple[Dropout, Tensor]], dict[int, Tensor]]


def _participants(module: nn.Module, device: torch.device) -> Participants:
    """The layers that take part, each with a key made of its name, and keys of b samples by b.

    They are found once for a module and a device.
    """
    of_module = _found.setdefault(module, {})
    if device not in of_module:
        named = [(n, m) for n, m in module.named_modules() if isinstance(m, Dropout) and m.p > 0]
        salts = _words([draws.key(0, 0, place) for place, _ in named], device)
        layers = [(layer, salt.clone()) for (_, layer), salt in zip(named, salts, strict=True)]
        of_module[device] = layers, {}
    return of_module[device]


_found: WeakKeyDictionary[nn.Module, dict[torch.device, Participants]] = WeakKeyDictionary()


def _words(keys: Sequence[int], device: torch.device) -> Tensor:
    """The low 64 bits of keys: int32 `[n, 2]`."""
    words = [[_signed(key), _signed(key >> 32)] for key in keys]
    return torch.tensor(words, dtype=torch.int32).view(-1, 2).to(device)


def _uniform_bits(keys: Tensor, count: int) -> Tensor:
    """Uniform integers in [0, 2^31) for `count` elements of each key: int32 `[b, count]`."""
    first, second = keys[:, :1], keys[:, 1:]
    index = torch.arange(count, dtype=torch.int32, device=keys.device)
    # No product before the key comes in: the compiler would make it part of its addresses, where
    # numbers do not wrap around at 32 bits.
    return _hash(_hash(index ^ first) ^ second) & 0x7FFFFFFF


def _hash(x: Tensor) -> Tensor:
    for shift, factor in ROUNDS:
        x = x ^ ((x >> shift) & (2 ** (32 - shift) - 1))  # a logical shift of a signed integer
        if factor is not None:
            x = x * factor
    return x


def _signed(word: int) -> int:
    """The low 32 bits as a signed integer."""
    return (word & 0xFFFFFFFF) - ((word & 0x80000000) << 1)
