"""Image + prompt → video: the one way to sample, for the command, for validation and for scores.

    animator = Animator.from_pretrained("runs/train/model")
    video = animator([image], ["a boat rocking on the waves"])[0]    # uint8 [t, h, w, 3]

`dynamicrafter animate` writes one H.264 file and one JSON with all settings per item. The noise of
an item is a function of (seed, its key): its video does not depend on its neighbours in the batch.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange

from dynamicrafter import draws, files
from dynamicrafter.command import command, device
from dynamicrafter.diffusion.guidance import batched, guided
from dynamicrafter.diffusion.sampler import ddim
from dynamicrafter.diffusion.schedule import ddim_timesteps
from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationModel
from dynamicrafter.model.pretrained import CONFIG, WEIGHTS, load_model

main = command("animate", "dynamicrafter.animate")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample; the defaults are those of the released 256 model.

    Attributes:
        steps: DDIM steps.
        spacing: "uniform" or, for zero terminal SNR, "uniform_trailing".
        eta: 0 is deterministic, 1 as noisy as ancestral sampling.
        guidance_scale: weight of the whole condition; 1 is none.
        image_guidance: weight of the image alone (multi-condition guidance, three branches).
        guidance_rescale: 0 to 1; pulls the guided output's deviation back.
        fs: frame stride or fps, as the model's config says; None is the model's default.
        frames: frames per video; None is what the model was trained on.
        seed: with an item's key it decides the noise.
    """

    steps: int = 50
    spacing: str = "uniform"
    eta: float = 1.0
    guidance_scale: float = 7.5
    image_guidance: float | None = None
    guidance_rescale: float = 0.0
    fs: int | None = None
    frames: int | None = None
    seed: int = 123


class Animator:
    """A loaded model that turns images and prompts into videos."""

    def __init__(self, model: AnimationModel):
        """Wrap a model in evaluation mode."""
        self.model = model

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> "Animator":
        """Load a model folder (`model.safetensors` and `model.yaml`)."""
        return cls(load_model(folder, device))

    @torch.no_grad()
    def __call__(
        self,
        images: Sequence[np.ndarray],
        prompts: Sequence[str],
        sampling: Sampling | None = None,
        keys: Sequence[str] | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Animate a batch.

        Args:
            images: uint8 `[h, w, 3]`, all at the model's resolution.
            prompts: one per image.
            sampling: settings; None for the defaults.
            keys: names of the items, which decide their noise; None numbers them.
            on_step: called after each sampling step.

        Returns:
            uint8 `[b, t, h, w, 3]`.

        Raises:
            InputError: sizes, counts or settings that do not fit.
        """
        sampling = sampling or Sampling()
        keys = [str(number) for number in range(len(images))] if keys is None else keys
        if not len(images) == len(prompts) == len(keys):
            raise InputError(f"{len(images)} images, {len(prompts)} prompts, {len(keys)} keys")
        model = self.model
        frames = sampling.frames or model.config.frames
        still = torch.from_numpy(np.stack(images)).to(model.device)  # [b, h, w, 3]
        still = rearrange(still, "b h w c -> b c h w").float() / 127.5 - 1
        height, width = still.shape[-2:]
        shape = model.latent_shape(frames, height, width)

        def noise(name: str) -> torch.Tensor:
            rows = [draws.normal(sampling.seed, 0, f"animate/{key}/{name}", shape) for key in keys]
            return torch.stack(rows).to(model.device)

        denoiser = self._denoiser(still, list(prompts), sampling, frames, noise("posterior"))
        timesteps = ddim_timesteps(sampling.spacing, sampling.steps)
        latents = ddim(
            denoiser,
            noise("start"),
            lambda step: noise(f"step-{step}"),
            schedule=model.schedule,
            timesteps=timesteps,
            eta=sampling.eta,
            on_step=(lambda step, x, x0: on_step(step)) if on_step else None,
        )
        video = model.decode_latents(latents)  # [b, 3, t, h, w]
        video = ((video + 1) * 127.5).round().clamp(0, 255).byte()
        return rearrange(video, "b c t h w -> b t h w c").cpu().numpy()

    def _denoiser(self, still, prompts, sampling, frames, posterior_noise):
        """The guided denoiser for these images and prompts: (x, t) → model output."""
        model, b = self.model, len(prompts)
        text, empty = model.encode_prompts(prompts), model.encode_prompts([""]).expand(b, -1, -1)
        tokens = no_tokens = None
        if model.image_proj_model is not None:
            tokens = model.image_tokens(model.image_features(still))
            no_tokens = model.image_tokens(model.image_features(torch.zeros_like(still)))
        branches = [model.context(text, tokens)]
        if sampling.guidance_scale != 1 or sampling.image_guidance is not None:
            branches.append(model.context(empty, no_tokens))
        if sampling.image_guidance is not None:
            branches.append(model.context(empty, tokens))
        context, n = torch.cat(branches), len(branches)

        condition = fs = None
        if model.config.unet.in_channels > model.config.unet.out_channels:
            z = model.encode_frames(
                still.unsqueeze(2), posterior_noise[:, :, :1]
            )  # [b, 4, 1, h, w]
            condition = z.expand(-1, -1, frames, -1, -1).repeat(n, 1, 1, 1, 1)
        if sampling.fs is not None:
            fs = torch.full((n * b,), sampling.fs, device=still.device)
        denoiser = model.denoiser(context, fs, condition)
        if n == 1:
            return denoiser
        return guided(
            batched(denoiser, n),
            scale=sampling.guidance_scale,
            image_scale=sampling.image_guidance,
            rescale=sampling.guidance_rescale,
        )


def inputs(config) -> dict[str, str]:
    """Digests of the weights and of the images."""
    from dynamicrafter.items import digest

    weights = Path(config.pretrained) / WEIGHTS
    if not weights.is_file():
        raise InputError(f"{config.pretrained} is no model folder: {WEIGHTS} is missing")
    model = [files.sha256_file(weights), files.sha256_file(weights.with_name(CONFIG))]
    return {"model": files.sha256_json(model), "images": digest(config.images)}


def run(config, folder: Path) -> dict[str, Any]:
    """Animate every item of `config` into `folder`; items that are there already are kept."""
    from omegaconf import OmegaConf

    from dynamicrafter import tracking
    from dynamicrafter.items import read_items
    from dynamicrafter.media.encode import encode_mp4
    from dynamicrafter.progress import progress

    if config.threads:
        torch.set_num_threads(config.threads)
    typed = OmegaConf.merge(OmegaConf.structured(Sampling), config.sampling)
    sampling = OmegaConf.to_object(typed)
    animator = Animator.from_pretrained(config.pretrained, device(config.device))
    items = read_items(config.images, config.prompt, config.count, animator.model.config.resolution)
    settings = {**asdict(sampling), "fps": config.fps, **inputs(config)}
    digest = files.sha256_json(settings)

    done = [item for item in items if _is_done(folder, item.key, item.prompt, digest)]
    waiting = [item for item in items if item not in done]
    plain = OmegaConf.to_container(config, resolve=True)
    with (
        tracking.open_run(config.tracking, folder, "animate", plain) as tracker,
        progress("animate", len(items), "videos", start=len(done)) as advance,
    ):
        for start in range(0, len(waiting), config.batch):
            batch = waiting[start : start + config.batch]
            began = time.monotonic()
            videos = animator(
                [item.image for item in batch],
                [item.prompt for item in batch],
                sampling,
                [item.key for item in batch],
            )
            seconds = (time.monotonic() - began) / len(batch)
            for item, video in zip(batch, videos, strict=True):
                path = folder / "videos" / f"{item.key}.mp4"
                path.with_suffix(".json").unlink(missing_ok=True)  # it spoke of the old video
                files.write_bytes(path, encode_mp4(video, config.fps))
                record = {"key": item.key, "prompt": item.prompt, "video": f"videos/{item.key}.mp4"}
                record |= {"settings": settings, "digest": digest, "seconds": round(seconds, 2)}
                files.write_json(folder / "videos" / f"{item.key}.json", record)
                tracker.video("videos", path, item.prompt)
            advance(len(batch))
    records = [files.read_json(folder / "videos" / f"{item.key}.json") for item in items]
    files.write_json(folder / "items.json", {"settings": settings, "items": records})
    return {"videos": len(items), "reused": len(done)}


def _is_done(folder: Path, key: str, prompt: str, digest: str) -> bool:
    path = folder / "videos" / f"{key}.json"
    if not (path.exists() and path.with_suffix(".mp4").exists()):
        return False
    record = files.read_json(path)
    return record["digest"] == digest and record["prompt"] == prompt
