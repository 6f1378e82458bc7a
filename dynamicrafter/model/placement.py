"""Where a model's parts lie while it samples, and in which precision its U-Net computes.

The U-Net does nearly all the work, so it alone is lowered to bf16: the weights of its linear and
convolutional layers are kept in bf16, which autocast would make of them at every call, and
everything else (norms, gates, guidance, the sampler) stays in fp32. The CLIP towers, the
image projection and the autoencoder are used once a video and compute in fp32: decoding in fp16
overflows at high resolutions and gives black frames.

On a GPU the U-Net's passes are replayed from CUDA graphs and weights lie channels last, unless
parts come and go.

With `offload` a part is on the device only while it is used. Its weights are not copied back, since
they do not change: the host keeps them, mapped to the file that they came from.
"""

import contextlib
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Literal

import torch
from torch import Tensor, nn

from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationModel
from dynamicrafter.model.compiled import channels_last
from dynamicrafter.model.graphs import Graphed

Precision = Literal["fp32", "bf16"]
PRECISIONS = ("auto", "fp32", "bf16")
OFFLOADS = ("auto", True, False)
ROOMY = 24e9  # bytes of device memory from which all parts stay on the device
LOWERED_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Placement:
    """A frozen model's parts, on the device when they are needed.

    Attributes:
        device: where the work is done.
        precision: of the U-Net, "fp32" or "bf16".
        offload: whether parts leave the device when they are not used.
    """

    def __init__(
        self,
        model: AnimationModel,
        device: torch.device,
        precision: str = "auto",
        offload: bool | str = "auto",
    ):
        """Choose where `auto` leaves the choice, and place what stays on the device.

        Precision: bf16 on a GPU that computes in it, else fp32. Offload: where the device has less
        than 24 GB of memory of its own.

        Raises:
            InputError: an unknown choice.
        """
        if precision not in PRECISIONS:
            raise InputError(f"precision={precision}; choose {', '.join(PRECISIONS)}")
        if offload not in OFFLOADS:
            raise InputError(f"offload={offload}; choose auto, true or false")
        self.device = device
        self.precision: Precision = best_precision(device) if precision == "auto" else precision
        self.offload = _is_small(device) if offload == "auto" else bool(offload)
        self._parts = {
            "unet": model.unet,
            "autoencoder": model.first_stage_model,
            "conditions": nn.ModuleList(
                part
                for part in (model.cond_stage_model, model.embedder, model.image_proj_model)
                if part is not None
            ),
        }
        self._graphed = Graphed(model.unet) if device.type == "cuda" and not self.offload else None
        if not self.offload:
            for name, part in self._parts.items():
                _move(part, device, self._lowered(name))
        if self._graphed:
            channels_last(model.unet)
            channels_last(model.first_stage_model)

    @property
    def unet(self) -> Callable[..., Tensor]:
        """The U-Net as it is called here, with its gates as they were trained."""
        return self._graphed or self._parts["unet"]

    @contextlib.contextmanager
    def using(self, name: Literal["unet", "autoencoder", "conditions"]) -> Iterator[None]:
        """Have a part on the device inside the block; the U-Net computes in its precision there."""
        lowered = name == "unet" and self.precision == "bf16"
        visit = self._visit(name) if self.offload else contextlib.nullcontext()
        with visit, torch.autocast(self.device.type, torch.bfloat16, enabled=lowered):
            yield

    def _visit(self, name: str) -> contextlib.AbstractContextManager[None]:
        return visiting(self._parts[name], self.device, self._lowered(name))

    def _lowered(self, name: str) -> set[torch.Tensor]:
        if name != "unet" or self.precision != "bf16":
            return set()
        layers = (x for x in self._parts[name].modules() if isinstance(x, LOWERED_LAYERS))
        return {parameter for layer in layers for parameter in layer.parameters()}


class AsItIs:
    """A placement that leaves the model, and the autocast of the caller, as they are.

    For a model in training: its weights are not to be lowered, and those that are kept in bf16 need
    the autocast. The autoencoder alone computes in fp32, as elsewhere: its weights are fp32, and
    bf16 would show as bands of colour.

    Attributes:
        device: where the model is.
        unet: as it is called.
    """

    def __init__(self, model: AnimationModel):
        self.device = model.device
        self.unet = model.unet

    def using(self, name: str) -> contextlib.AbstractContextManager[None]:
        """The context that a part computes in."""
        if name == "autoencoder":
            return torch.autocast(self.device.type, enabled=False)
        return contextlib.nullcontext()


@contextlib.contextmanager
def visiting(
    part: nn.Module, device: torch.device, lowered: AbstractSet[torch.Tensor] = frozenset()
) -> Iterator[None]:
    """Have the tensors of a part on `device` inside the block, those in `lowered` in bf16.

    Afterwards they hold what they held before: nothing is copied back.
    """
    before = _move(part, device, lowered)
    try:
        yield
    finally:
        for tensor, data in before.items():
            tensor.data = data


def _move(
    part: nn.Module, device: torch.device, lowered: AbstractSet[torch.Tensor]
) -> dict[torch.Tensor, torch.Tensor]:
    """Bring a part to the device; returns what its tensors held before."""
    before = {}
    for tensor in (*part.parameters(), *part.buffers()):
        before[tensor] = tensor.data
        dtype = torch.bfloat16 if tensor in lowered else tensor.dtype
        tensor.data = tensor.data.to(device, dtype)
    return before


def best_precision(device: torch.device) -> Precision:
    """bf16 on a GPU that computes in it, else fp32."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return "bf16"
    return "fp32"


def _is_small(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.mem_get_info(device)[1] < ROOMY
