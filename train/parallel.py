"""Several processes, one training: what they tell each other, and how weights lie.

With `ddp` every rank holds the whole model; with `fsdp` weights, gradients and moments are
divided among them.
"""

import contextlib
import datetime
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.ranks import Ranks
from train.heartbeat import watched
from train.precision import Precision
from train.recompute import recomputed_layers

Value = TypeVar("Value")

CHOICES = ("auto", "ddp", "fsdp")
LONGEST_WAIT = datetime.timedelta(minutes=30)  # for a rank that writes or samples; the dead are
# told by the heartbeat, long before
LOST_PEER = ("Connection closed", "Connection reset", "connectFullMesh", "peer", "NCCL", "Gloo")


@contextlib.contextmanager
def joined(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Be one of the ranks inside the block.

    Raises:
        MachineError: another rank has ended.
    """
    if ranks.count == 1:
        yield
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        with watched(ranks.rank, ranks.count):
            yield
    except (dist.DistError, RuntimeError) as error:
        if not any(word in str(error) for word in LOST_PEER):
            raise
        what = str(error).splitlines()[0][:150]
        raise MachineError(
            f"rank {ranks.rank} has lost another rank ({what}); see what that one says, then start "
            "all of them again: they go on from the newest checkpoint"
        ) from None
    finally:
        with contextlib.suppress(Exception):
            dist.destroy_process_group()


def choose_parallel(name: str, ranks: Ranks) -> str:
    """`ddp`, `fsdp`, or `alone` where there is one rank and nobody asks for more.

    Raises:
        InputError: there is no such choice.
    """
    if name not in CHOICES:
        raise InputError(f"parallel is {name!r}; choose {', '.join(CHOICES)}")
    if ranks.count == 1:
        return "alone"
    return "ddp" if name == "auto" else name


def shard(parts: list[nn.Module], precision: Precision) -> None:
    """Divide the parameters of these modules among the ranks; they are gathered layer by layer.

    Scalars (the gates) stay whole; `average_scalars` is for their gradients.
    """
    # Layers return views of their results; nothing here changes one in place, which it warns of.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
    low = torch.bfloat16 if precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)
    device = next(parts[0].parameters()).device.type
    mesh = dist.device_mesh.init_device_mesh(device, (dist.get_world_size(),))
    for part in parts:
        scalars = {parameter for parameter in part.parameters() if parameter.ndim == 0}
        for module in (*recomputed_layers(part), part):
            fully_shard(module, mesh=mesh, mp_policy=policy, ignored_params=scalars)


def average_scalars(trained: Iterable[Tensor]) -> None:
    """Average the gradients of what `shard` leaves whole over the ranks."""
    scalars = [p.grad for p in trained if p.ndim == 0 and p.grad is not None]
    if scalars:
        together = torch.stack(scalars)
        dist.all_reduce(together)
        torch._foreach_copy_(scalars, list(together / dist.get_world_size()))


def from_leader(ranks: Ranks, make: Callable[[], Value]) -> Value:
    """What rank 0 makes, on every rank. It makes it before the others go on."""
    if ranks.count == 1:
        return make()
    box = [make() if ranks.leads else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gathered(ranks: Ranks, value: Value) -> list[Value]:
    """What every rank has, in the order of the ranks."""
    if ranks.count == 1:
        return [value]
    box: list[Any] = [None] * ranks.count
    dist.all_gather_object(box, value)
    return box


def in_order(ranks: Ranks, values: Tensor) -> Tensor:
    """The values `[n]` of every rank one after the other: `[ranks * n]`."""
    if ranks.count == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(ranks.count)]
    dist.all_gather(parts, values)
    return torch.cat(parts)


def added(ranks: Ranks, value: Tensor) -> Tensor:
    """The sum of a tensor over the ranks, in place."""
    if ranks.count > 1:
        dist.all_reduce(value)
    return value


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, wherever its parts lie; every rank has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """What of a tensor lies on this rank."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def fill(tensor: Tensor, full: Tensor) -> Tensor:
    """Copy a whole tensor into one that may be divided, and return that."""
    if isinstance(tensor, DTensor):
        full = full.to(own_part(tensor).device, tensor.dtype)
        full = distribute_tensor(full, tensor.device_mesh, tensor.placements, src_data_rank=None)
    own_part(tensor).copy_(own_part(full))
    return tensor
