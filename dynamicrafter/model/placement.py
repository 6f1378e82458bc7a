"""Where a model's parts lie while it samples, and in which precision its U-Net computes.

The U-Net does nearly all the work, so it alone is lowered to bf16: the weights of its linear and
convolutional layers are kept in bf16, which autocast would make of them at every call, and
everything else (norms, gates, guidance, the sampler) stays in fp32. The CLIP towers, the
image projection and the autoencoder are used once a video and compute in fp32: decoding in fp16
overflows at high resolutions and gives black frames.

With `offload` a part is on the device only while it is used. Its weights are not copied back, since
they do not change: the host keeps them, mapped to the file that they came from.
"""

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationModel

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
        self.precision: Precision = _best_precision(device) if precision == "auto" else precision
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
        if not self.offload:
            for name in self._parts:
                self._move(name)

    @contextlib.contextmanager
    def using(self, name: Literal["unet", "autoencoder", "conditions"]) -> Iterator[None]:
        """Have a part on the device inside the block; the U-Net computes in its precision there."""
        before = self._move(name) if self.offload else {}
        lowered = name == "unet" and self.precision == "bf16"
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=lowered):
                yield
        finally:
            for tensor, data in before.items():
                tensor.data = data

    def _move(self, name: str) -> dict[torch.Tensor, torch.Tensor]:
        """Bring a part to the device; returns what its tensors held before."""
        part = self._parts[name]
        lowered = set()
        if name == "unet" and self.precision == "bf16":
            layers = (layer for layer in part.modules() if isinstance(layer, LOWERED_LAYERS))
            lowered = {parameter for layer in layers for parameter in layer.parameters()}
        before = {}
        for tensor in (*part.parameters(), *part.buffers()):
            before[tensor] = tensor.data
            dtype = torch.bfloat16 if tensor in lowered else tensor.dtype
            tensor.data = tensor.data.to(self.device, dtype)
        return before


def _best_precision(device: torch.device) -> Precision:
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return "bf16"
    return "fp32"


def _is_small(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.mem_get_info(device)[1] < ROOMY
