"""Image + prompt → video: the one way to sample, for the command, for validation and for scores.

    animator = Animator.from_pretrained("dynamicrafter_512")       # or a model folder, a checkpoint
    video = animator("boat.jpg", "a boat rocking on the waves")    # uint8 [t, h, w, 3]

The noise of an item is a function of (seed, its key): its video does not depend on its neighbours
in the batch. `dynamicrafter animate` (`animate_run.py`) does the same from files to files.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from dynamicrafter import draws
from dynamicrafter.command import choose_device, command
from dynamicrafter.diffusion.guidance import Denoiser, batched, guided
from dynamicrafter.diffusion.objective import keep_ends
from dynamicrafter.diffusion.sampler import ddim
from dynamicrafter.diffusion.schedule import ddim_timesteps
from dynamicrafter.errors import InputError
from dynamicrafter.images import as_image, fit
from dynamicrafter.items import Item
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.gates import check_factors, scaled_gates
from dynamicrafter.model.placement import AsItIs, Placement
from dynamicrafter.model.pretrained import Pretrained, load_model

MODES = ("animate", "interp", "loop")
LARGEST_FS = {"stride": 6, "fps": 30}  # beyond it no released model was trained

main = command("animate", "dynamicrafter.animate_run")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample. Where a default is None, the model's schedule or training decides.

    Attributes:
        mode: "animate" an image; "interp", from an image to a last one; "loop", back to the image.
        steps: DDIM steps.
        spacing: "uniform" or "uniform_trailing"; None is the latter at zero terminal SNR.
        eta: 0 is deterministic, 1 as noisy as ancestral sampling.
        guidance_scale: weight of the whole condition; 1 is none.
        image_guidance: weight of the image alone (multi-condition guidance, three branches).
        guidance_rescale: 0 to 1; pulls the guided output's deviation back; None is 0.7 at zero
            terminal SNR, else 0.
        fs: frame stride or fps, as the model's config says; None is the model's default.
        frames: frames per video; None is what the model was trained on.
        seed: with an item's key it decides the noise.
        gates: factor on λ by layer, None for none; see `model/gates.py`.
    """

    mode: str = "animate"
    steps: int = 50
    spacing: str | None = None
    eta: float = 1.0
    guidance_scale: float = 7.5
    image_guidance: float | None = None
    guidance_rescale: float | None = None
    fs: int | None = None
    frames: int | None = None
    seed: int = 123
    gates: dict[str, float] | None = None

    def resolved(self, config: AnimationConfig) -> "Sampling":
        """These settings with nothing left open, for a model.

        Raises:
            InputError: a setting that has no meaning, or none for this model.
        """
        terminal = config.schedule.zero_snr
        defaults = {
            "spacing": "uniform_trailing" if terminal else "uniform",
            "guidance_rescale": 0.7 if terminal else 0.0,
            "fs": config.unet.default_fs if config.unet.temporal else None,
            "frames": config.frames,
        }
        left_open = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        chosen = replace(self, **left_open)
        chosen._check(config)
        return chosen

    def _check(self, config: AnimationConfig) -> None:
        ddim_timesteps(self.spacing, self.steps)
        if self.mode not in MODES:
            raise InputError(f"mode is {self.mode!r}; choose {', '.join(MODES)}")
        if self.mode != "animate" and not config.sees_image_latents:
            raise InputError(f"mode={self.mode} needs a model with the image's latents as input")
        if self.frames < 1 or (self.frames > 1 and not config.unet.temporal):
            raise InputError(f"frames is {self.frames}; this model makes {config.frames}")
        if self.mode != "animate" and self.frames < 2:
            raise InputError(f"mode={self.mode} needs two frames at least, not {self.frames}")
        for name, value, low, high in (
            ("eta", self.eta, 0, 1),
            ("guidance_rescale", self.guidance_rescale, 0, 1),
            ("guidance_scale", self.guidance_scale, 0, math.inf),
            ("image_guidance", self.image_guidance or 0, 0, math.inf),
            ("fs", self.fs or 0, 0, 1000),
        ):
            if not (low <= value <= high and math.isfinite(value)):
                raise InputError(f"{name} is {value}; choose {low} to {high}")

    def warnings(self, config: AnimationConfig) -> list[str]:
        """What a person should know of resolved settings before they wait for the result."""
        said = []
        if self.frames != config.frames:
            said.append(
                f"frames={self.frames}, but the model was trained on {config.frames}: each frame "
                "takes the image tokens of the trained frame nearest to its relative place, and "
                "motion mostly suffers"
            )
        if self.fs is not None and not 1 <= self.fs <= LARGEST_FS[config.fs_means]:
            meaning = {"stride": "a frame stride", "fps": "frames per second"}[config.fs_means]
            said.append(
                f"fs={self.fs}, but for this model fs is {meaning} and was trained from 1 to "
                f"{LARGEST_FS[config.fs_means]}"
            )
        return said


class Animator:
    """A loaded model that turns images and prompts into videos.

    Attributes:
        model: in evaluation mode and frozen.
        placement: where its parts lie, and the precision.
    """

    def __init__(self, model: AnimationModel, placement: Placement | AsItIs | None = None):
        """Wrap a model; without a placement it stays where it is and as it is."""
        self.model = model
        self.placement = placement or AsItIs(model)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | Pretrained,
        *,
        kind: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        offload: bool | str = "auto",
    ) -> "Animator":
        """Load a model folder, an official checkpoint, or a released model by its name.

        Args:
            source: see `model.pretrained.find`.
            kind: what a checkpoint file is, where it does not tell.
            device: auto, cpu, cuda or mps.
            precision: auto, fp32 or bf16.
            offload: auto, True or False: keep only what is used on the GPU.

        Raises:
            InputError: no such model or device, or weights that are not what the config says.
        """
        place = choose_device(device)
        model = load_model(source, kind=kind)
        return cls(model, Placement(model, place, precision, offload))

    def __call__(
        self,
        image: Any,
        prompt: str,
        sampling: Sampling | None = None,
        *,
        last: Any = None,
        key: str = "0",
        rule: str = "crop",
        on_step: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Animate one image.

        Args:
            image: a path, a PIL image, or uint8 `[h, w, 3]`, of any size.
            prompt: what moves, and how.
            sampling: settings; None for the defaults.
            last: the frame to end at, with `mode="interp"`.
            key: decides the noise, together with the seed.
            rule: how images are brought to the model's size (`images.py`).
            on_step: called after each sampling step with its number from 0.

        Returns:
            uint8 `[t, h, w, 3]`.

        Raises:
            InputError: an image or settings that cannot be used.
        """
        size = self.model.config.resolution
        fitted = [None if x is None else fit(as_image(x), size, rule) for x in (image, last)]
        return self.batch([Item(key, fitted[0], prompt, fitted[1])], sampling, on_step)[0]

    @torch.no_grad()
    def batch(
        self,
        items: Sequence[Item],
        sampling: Sampling | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Animate several items at once; their images are of one size already.

        Returns:
            uint8 `[b, t, h, w, 3]`.

        Raises:
            InputError: sizes or settings that do not fit, or a last frame too few or too many.
        """
        model, using = self.model, self.placement.using
        chosen = self.check(items, sampling or Sampling())
        first, last = self._ends(items, chosen.mode)
        shape = model.latent_shape(chosen.frames, *first.shape[-2:])

        def noise(name: str) -> Tensor:
            names = [f"animate/{item.key}/{name}" for item in items]
            rows = [draws.normal(chosen.seed, 0, name, shape) for name in names]
            return torch.stack(rows).to(self.placement.device)

        with using("conditions"):
            contexts = self._contexts(first, [item.prompt for item in items], chosen)
        with using("autoencoder"):
            condition = self._condition_latents(first, last, noise("posterior"))
        with using("unet"), scaled_gates(model.unet, chosen.gates or {}):
            latents = ddim(
                self._denoiser(contexts, condition, chosen),
                noise("start"),
                lambda step: noise(f"step-{step}"),
                schedule=model.schedule,
                timesteps=ddim_timesteps(chosen.spacing, chosen.steps),
                eta=chosen.eta,
                on_step=(lambda step, x, x0: on_step(step)) if on_step else None,
            )
        with using("autoencoder"):
            video = model.decode_latents(latents)  # [b, 3, t, h, w]
        video = ((video + 1) * 127.5).round().clamp(0, 255).byte()
        return rearrange(video, "b c t h w -> b t h w c").cpu().numpy()

    def check(self, items: Sequence[Item], sampling: Sampling) -> Sampling:
        """The settings with nothing left open, or a refusal of what `batch` could not do.

        Raises:
            InputError: as `batch`.
        """
        chosen = sampling.resolved(self.model.config)
        check_factors(self.model.unet, chosen.gates or {})
        for item in items:
            self.model.latent_shape(chosen.frames, *item.image.shape[:2])
            if (item.last is not None) != (chosen.mode == "interp"):
                verb = "needs" if chosen.mode == "interp" else "has no use for"
                raise InputError(f"mode={chosen.mode} {verb} a last image ({item.key})")
        return chosen

    def _ends(self, items: Sequence[Item], mode: str) -> tuple[Tensor, Tensor | None]:
        """First and, where the mode has one, last frames: `[b, 3, h, w]` in [-1, 1]."""

        def pixels(images: list[np.ndarray]) -> Tensor:
            stacked = torch.from_numpy(np.stack(images)).to(self.placement.device)
            return rearrange(stacked, "b h w c -> b c h w").float() / 127.5 - 1

        first = pixels([item.image for item in items])
        if mode == "interp":
            return first, pixels([item.last for item in items])
        return first, first if mode == "loop" else None

    def _contexts(self, first: Tensor, prompts: list[str], chosen: Sampling) -> list[Tensor]:
        """The U-Net's context `[b, l, d]` of each guidance branch, the full condition first."""
        model, b = self.model, len(prompts)
        text, empty = model.encode_prompts(prompts), model.encode_prompts([""]).expand(b, -1, -1)
        tokens = no_tokens = None
        if model.image_proj_model is not None:
            tokens = model.image_tokens(model.image_features(first), chosen.frames)
            blank = model.image_features(torch.zeros_like(first[:1]))
            no_tokens = model.image_tokens(blank, chosen.frames).expand(b, -1, -1)
        contexts = [model.context(text, tokens)]
        if chosen.guidance_scale != 1 or chosen.image_guidance is not None:
            contexts.append(model.context(empty, no_tokens))
        if chosen.image_guidance is not None:
            contexts.append(model.context(empty, tokens))
        return contexts

    def _condition_latents(
        self, first: Tensor, last: Tensor | None, noise: Tensor
    ) -> Tensor | None:
        """Latents to concatenate `[b, z, t, h, w]`: the image in every frame, or both ends."""
        model = self.model
        if not model.config.sees_image_latents:
            return None
        z = model.encode_frames(first.unsqueeze(2), noise[:, :, :1])  # [b, z, 1, h, w]
        everywhere = z.expand_as(noise)
        if last is None:
            return everywhere
        end = model.encode_frames(last.unsqueeze(2), noise[:, :, -1:])
        return keep_ends(torch.cat([everywhere[:, :, :-1], end], dim=2))

    def _denoiser(
        self, contexts: list[Tensor], condition: Tensor | None, chosen: Sampling
    ) -> Denoiser:
        """The guided denoiser under these conditions: (x, t) → model output."""
        n, fs = len(contexts), None
        context = torch.cat(contexts)
        if condition is not None:
            condition = condition.repeat(n, 1, 1, 1, 1)
        if chosen.fs is not None:
            fs = torch.full((len(context),), chosen.fs, device=context.device)
        # What a graph recorded knows nothing of gates that were scaled since.
        unet = self.model.unet if chosen.gates else self.placement.unet
        denoiser = self.model.denoiser(context, fs, condition, unet)
        if n == 1:
            return denoiser
        return guided(
            batched(denoiser, n),
            scale=chosen.guidance_scale,
            image_scale=chosen.image_guidance,
            rescale=chosen.guidance_rescale,
        )
