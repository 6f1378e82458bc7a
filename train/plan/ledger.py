"""A pass of a network on paper: which memory it would hold at every moment, and its FLOP.

The pass runs on the meta device, where tensors have shapes and no bytes, with the very layers that
are trained, so what autograd keeps, what recomputing frees and what a frozen layer never saves is
found and not modelled. Every storage that an operator makes is entered when it appears and struck
out when it is freed. Two things are put in the place of what a GPU does: bf16 autocast, which does
not exist on the meta device, and fused attention, which keeps no attention matrix.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

LOWERED = ("linear", "conv1d", "conv2d", "conv3d")  # what of the layers here autocast lowers
ATTENTION = "scaled_dot_product_attention"
GROWING, FIXED, GRADIENT = range(3)  # kinds of bytes
_ROUNDING = 512  # bytes; the granularity of torch's CUDA allocator


@contextlib.contextmanager
def as_on_gpu(lowered: bool) -> Iterator[Callable[[], None]]:
    """Inside the block, layers on the meta device call what autocast on a GPU would.

    Yields a function to be called where the trainer leaves autocast, before the backward pass.

    The functions of `torch.nn.functional` are replaced: torch switches its own function modes off
    during a backward pass, where layers are recomputed.

    Args:
        lowered: matrix products and convolutions compute in bf16. The copy of a trained weight
            lives until autocast is left; what is recomputed afterwards makes its own.
    """
    copies: dict[Tensor, Tensor] | None = {}

    def leave() -> None:
        nonlocal copies
        copies = None

    def lower(value: Any) -> Any:
        if not (lowered and isinstance(value, Tensor) and value.dtype == torch.float32):
            return value
        if copies is None or not (value.is_leaf and value.requires_grad):
            return value.to(torch.bfloat16)
        if value not in copies:
            copies[value] = value.to(torch.bfloat16)
        return copies[value]

    def lowering(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *args, **more: function(
            *map(lower, args), **{name: lower(value) for name, value in more.items()}
        )

    def attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.ops.aten._scaled_dot_product_flash_attention(*map(lower, (q, k, v)))[0]

    before = {name: getattr(F, name) for name in (*LOWERED, ATTENTION)}
    try:
        for name in LOWERED:
            setattr(F, name, lowering(before[name]))
        setattr(F, ATTENTION, attention)
        yield leave
    finally:
        for name, function in before.items():
            setattr(F, name, function)


class Ledger(TorchDispatchMode):
    """Live bytes after every operator, by kind, and the FLOP of all of them.

    What was there before the ledger was opened (weights, inputs) is not counted. Bytes grow with
    the batch, except for what is made of `fixed` tensors alone (copies of weights in another dtype)
    and for the gradients of weights.

    Attributes:
        flop: multiply-adds count as two; formulas of `torch.utils.flop_counter`.
        forward_flop: of the forward pass alone.
        operators: how many operators ran, views aside: about as many kernels are launched.
    """

    def __init__(self, weights: Iterable[Tensor]):
        super().__init__()
        self.flop = self.forward_flop = 0
        self.operators = 0
        self._moments: list[tuple[int, int, int]] = []
        self._live = [0, 0, 0]
        self._kinds: dict[int, int] = {}  # of storages, by address
        self._before: dict[int, Any] = {}
        self._watchers: dict[int, weakref.ref] = {}
        for weight in weights:
            self._kinds[_address(weight)] = FIXED
            self._before[_address(weight)] = weight

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            self.flop += flop_registry[func._overloadpacket](*args, **kwargs, out_val=out)
        made = [x for x in _tensors(out) if _address(x) not in self._kinds]
        if made:
            given = _tensors((*args, *kwargs.values()))
            fixed = bool(given) and all(self._kinds.get(_address(x)) == FIXED for x in given)
            for tensor in made:
                self._enter(tensor, FIXED if fixed else GROWING)
            self.operators += 1
            self._moments.append(tuple(self._live))
        return out

    def mark_gradient(self, weight: Tensor) -> None:
        """The gradient of `weight` has been accumulated and stays."""
        address = _address(weight.grad)
        size = _size(weight.grad)
        self._live[self._kinds.get(address, GROWING)] -= size
        self._live[GRADIENT] += size
        self._kinds[address] = GRADIENT
        self._moments.append(tuple(self._live))

    def moments(self) -> np.ndarray:
        """Live bytes after each operator and gradient: int64 `[n, 3]`, kinds in the last axis."""
        return np.array(self._moments, np.int64).reshape(-1, 3)

    def _enter(self, tensor: Tensor, kind: int) -> None:
        """Count the storage of `tensor` until it is freed."""
        address, size = _address(tensor), _size(tensor)
        self._kinds[address] = kind
        self._live[kind] += size

        def strike_out(_: object) -> None:
            self._live[self._kinds.pop(address)] -= size
            del self._watchers[address]

        self._watchers[address] = weakref.ref(tensor.untyped_storage(), strike_out)


def _tensors(values: Any) -> list[Tensor]:
    """The tensors among what an operator takes or gives; lists may hold some too."""
    if isinstance(values, Tensor):
        return [values]
    if not isinstance(values, list | tuple):
        return []
    return [tensor for value in values for tensor in _tensors(value)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _size(tensor: Tensor) -> int:
    """Bytes of the storage of `tensor` as the allocator hands them out."""
    return -(-tensor.untyped_storage().nbytes() // _ROUNDING) * _ROUNDING


def run_forward(network: nn.Module, compute: Callable[[], Any], lowered: bool) -> Ledger:
    """The ledger of `compute`, which runs `network` on the meta device without gradients."""
    ledger = Ledger(network.parameters())
    with torch.no_grad(), as_on_gpu(lowered), ledger:
        compute()
    ledger.forward_flop = ledger.flop
    return ledger


def run_training(network: nn.Module, compute: Callable[[], Tensor], lowered: bool) -> Ledger:
    """The ledger of the scalar that `compute` returns and of its backward pass.

    `network` lies on the meta device; of its weights those that require a gradient get one.
    """
    ledger = Ledger(network.parameters())
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    hooks = [w.register_post_accumulate_grad_hook(ledger.mark_gradient) for w in trained]
    with as_on_gpu(lowered) as leave, ledger:
        loss = compute()
        ledger.forward_flop = ledger.flop
        leave()
        loss.backward()
    for hook in hooks:
        hook.remove()
    for weight in trained:
        weight.grad = None
    return ledger
