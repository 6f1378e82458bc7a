"""The machine's ceiling: how fast it multiplies matrices.

A network's own ceiling is the rate at which it would run if all of its counted operations were one
such product. Convolutions, attention and matrix products are counted; the rest is overhead.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.bench.timing import Row, seconds_in_turn


@dataclass(frozen=True)
class Machine:
    """A device, the number format that it computes in, and the matrices that fill it."""

    device: str
    dtype: torch.dtype
    side: int

    def __str__(self) -> str:
        """As in `cpu float32`."""
        return f"{self.device} {str(self.dtype).removeprefix('torch.')}"

    @property
    def flops(self) -> int:
        """Operations of one product."""
        return 2 * self.side**3

    def product(self) -> Callable[[], object]:
        """A product of two square matrices, ready to be timed."""
        a, b = torch.randn(2, self.side, self.side).to(self.device, self.dtype)
        return lambda: self.finished(a @ b)

    def finished(self, result: object) -> object:
        """`result`, once the device has computed it."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return result


CPU = Machine("cpu", torch.float32, 2048)
CUDA = Machine("cuda", torch.bfloat16, 8192)


def rows(machine: Machine) -> list[Row]:
    """The ceiling itself."""
    (seconds,) = seconds_in_turn(machine.product())
    return [Row(f"product, {machine}", machine.flops / seconds / 1e9, "GFLOP")]


def network_row(
    part: str, work: Callable[[], object], machine: Machine, count: int, unit: str
) -> Row:
    """A network beside the rate that one matrix product of its FLOPs allows.

    One call of `work` serves `count` units.
    """
    flops = counted_flops(work)
    seconds, product = seconds_in_turn(lambda: machine.finished(work()), machine.product())
    ceiling = machine.flops / product / (flops / count)
    return Row(part, count / seconds, unit, "matrix product", ceiling)


def counted_flops(work: Callable[[], object]) -> int:
    """Operations of `work`, with attention written out: the counter misses its fused CPU kernel."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()
