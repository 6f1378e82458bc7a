"""I2VGen-XL (Zhang et al., arXiv 2311.04145), through diffusers and from a local folder.

The folder is the published one in diffusers' layout. Nothing is downloaded, no pickle is opened and
no code of the folder is run: the parts are loaded one by one, each with the class that it must be.

The pipeline draws the latents of the input image from torch's global state, and reads the text
encoder in a way that transformers 5.6 no longer offers. Both are done here instead.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from omegaconf import MISSING, DictConfig, OmegaConf
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from dynamicrafter import draws, files
from dynamicrafter.command import choose_device
from dynamicrafter.errors import InputError
from dynamicrafter.files import file_digest
from dynamicrafter.items import Item

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, I2VGenXLPipeline

PIPELINE = "I2VGenXLPipeline"
INDEX = "model_index.json"
PARTS = {  # library, class
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "I2VGenXLUNet"],
    "vae": ["diffusers", "AutoencoderKL"],
}
WEIGHTS = {  # names of the files without suffix
    "image_encoder": "model",
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
PICKLES = {".bin", ".ckpt", ".pt", ".pth"}
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CELL = 64  # pixels of one cell at the U-Net's lowest level
ETA = 0.0  # of DDIM; with it the noise at the start is the only one


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The settings of a video, as conf/eval_generate.yaml explains them."""

    steps: int = MISSING
    guidance_scale: float = MISSING
    negative_prompt: str | None = MISSING
    frames: int = MISSING
    target_fps: int = MISSING
    resolution: list[int] = MISSING
    seed: int = MISSING
    precision: str = MISSING

    def check(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            InputError: one that has none.
        """
        for name, value, low, high in (
            ("steps", self.steps, 1, 1000),
            ("frames", self.frames, 1, 1000),
            ("target_fps", self.target_fps, 1, 1000),
            ("guidance_scale", self.guidance_scale, 0, 1000),
        ):
            if not low <= value <= high:
                raise InputError(f"{name} is {value}; choose {low} to {high}")
        sides = self.resolution
        if len(sides) != 2 or any(side < CELL or side % CELL for side in sides):
            raise InputError(
                f"resolution={self.resolution}; it is [height, width] in multiples of {CELL}"
            )


def digest(config: DictConfig) -> str:
    """Digest of the files that `load` reads.

    Raises:
        InputError: `config.pretrained` is no folder of I2VGen-XL, or holds its weights as pickles.
    """
    folder = Path(config.pretrained)
    _libraries()  # their absence shall not show only after gigabytes have been read
    read = _files(folder, config.variant)
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in read}
    return files.sha256_json(digests)


def settings(config: DictConfig) -> dict[str, Any]:
    """All that decides a video beside its item and the weights.

    Raises:
        InputError: a value that cannot be.
        ValidationError: a value of another type, from OmegaConf.
    """
    own = OmegaConf.masked_copy(config, [field.name for field in fields(Sampling)])
    chosen = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Sampling), own))
    chosen.check()
    precision = _precision(chosen.precision, config.device)
    return {**asdict(chosen), "eta": ETA, "precision": precision}


def load(config: DictConfig, device: torch.device) -> Callable[[Sequence[Item]], list[np.ndarray]]:
    """The method, ready on a device: items of `config.resolution` → uint8 `[t, h, w, 3]` each.

    Raises:
        InputError: diffusers is not installed, or the folder's weights are not whole; from the
            method, frames that are not finite.
    """
    chosen = settings(config)
    dtype = PRECISIONS[chosen["precision"]]
    pipeline = _pipeline(Path(config.pretrained), config.variant, dtype).to(device)
    height, width = chosen["resolution"]
    factor = pipeline.vae_scale_factor
    grid = (height // factor, width // factor)
    channels = pipeline.unet.config.in_channels

    def noise(items: Sequence[Item], name: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal `[b, *shape]`; each row depends on the seed and the item's key alone."""
        names = [f"i2vgen_xl/{item.key}/{name}" for item in items]
        rows = [draws.normal(chosen["seed"], 0, name, shape) for name in names]
        return torch.stack(rows).to(device, dtype)

    def generate(items: Sequence[Item]) -> list[np.ndarray]:
        posterior = noise(items, "posterior", (channels, *grid))
        start = noise(items, "start", (channels, chosen["frames"], *grid))
        negative = [chosen["negative_prompt"] or ""] * len(items)
        with torch.inference_mode(), _posterior_noise(pipeline.vae, posterior):
            videos = pipeline(
                image=[Image.fromarray(item.image) for item in items],
                height=height,
                width=width,
                target_fps=chosen["target_fps"],
                num_frames=chosen["frames"],
                num_inference_steps=chosen["steps"],
                guidance_scale=chosen["guidance_scale"],
                eta=ETA,
                latents=start,
                prompt_embeds=_text(pipeline, [item.prompt for item in items]),
                negative_prompt_embeds=_text(pipeline, negative),
                output_type="np",
            ).frames  # [b, t, h, w, 3], 0 to 1
        if not np.isfinite(videos).all():
            raise InputError(
                f"{items[0].key}: numbers overflow in precision={chosen['precision']}; pass "
                "precision=bf16 or fp32, or look for broken weights"
            )
        return list((videos * 255).round().astype(np.uint8))

    return generate


def _libraries() -> tuple[ModuleType, ModuleType]:
    """The libraries diffusers and transformers."""
    try:
        return importlib.import_module("diffusers"), importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        raise InputError(
            f"I2VGen-XL needs {error.name}: pip install 'dynamicrafter-toolkit[baselines]'"
        ) from None


def _precision(wanted: str, device: str) -> str:
    if wanted == "auto":
        return "fp16" if choose_device(device).type == "cuda" else "fp32"
    if wanted not in PRECISIONS:
        raise InputError(f"precision={wanted}; choose auto, {', '.join(PRECISIONS)}")
    return wanted


def _files(folder: Path, variant: str | None) -> list[Path]:
    """The files of the pipeline: all small ones, and of the weights those of the variant."""
    if not folder.is_dir():
        raise InputError(
            f"pretrained={folder}: no such folder; it takes I2VGen-XL as diffusers keeps it, and "
            "nothing is downloaded"
        )
    if not (folder / INDEX).is_file():
        raise InputError(f"pretrained={folder} is no diffusers pipeline: {INDEX} is missing")
    index = files.read_json(folder / INDEX)
    wanted = {"_class_name": PIPELINE, **PARTS}
    if not isinstance(index, dict) or {name: index.get(name) for name in wanted} != wanted:
        raise InputError(f"pretrained={folder} is no {PIPELINE}: {INDEX} names other classes")
    small = [path for name in PARTS for path in (folder / name).glob("*.*")]
    small = sorted(path for path in small if path.suffix in (".json", ".txt"))
    return [*small, *(_weights(folder / part, stem, variant) for part, stem in WEIGHTS.items())]


def _weights(folder: Path, stem: str, variant: str | None) -> Path:
    path = folder / f"{stem}.{f'{variant}.' if variant else ''}safetensors"
    if path.is_file():
        return path
    there = sorted(folder.glob("*"))
    if others := [one for one in there if one.suffix == ".safetensors"]:
        raise InputError(f"{path} is missing, but {others[0].name} is there; see variant=")
    if pickled := [one for one in there if one.suffix in PICKLES]:
        raise InputError(
            f"{pickled[0]} is a pickle, which can hold code; get the weights as {path.name}"
        )
    raise InputError(f"{path} is missing; the folder is not whole")


def _pipeline(folder: Path, variant: str | None, dtype: torch.dtype) -> "I2VGenXLPipeline":
    """The pipeline on the CPU, every tensor from the files.

    Raises:
        InputError: diffusers is missing, or a part cannot be loaded or lacks tensors.
    """
    _files(folder, variant)
    diffusers, transformers = _libraries()
    libraries = {library.__name__: library for library in (diffusers, transformers)}
    with _quiet(diffusers), _quiet(transformers):
        parts = {
            name: _part(getattr(libraries[library], kind), folder / name, variant, dtype)
            for name, (library, kind) in PARTS.items()
        }
        pipeline = getattr(diffusers, PIPELINE)(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextlib.contextmanager
def _quiet(library: ModuleType) -> Iterator[None]:
    """Of a library's own messages and bars, only errors: what is wrong is said by ours."""
    log = library.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _part(kind: Any, folder: Path, variant: str | None, dtype: torch.dtype) -> Any:
    """One part of the pipeline; a network has all its tensors."""
    if folder.name not in WEIGHTS:
        return kind.from_pretrained(str(folder), local_files_only=True)
    try:
        network, told = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            variant=variant,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"{folder} cannot be loaded: {first}") from None
    if missing := sorted(told["missing_keys"]):  # they would stay random
        raise InputError(f"{folder} lacks {len(missing)} tensors, such as {missing[0]}")
    return network.eval().to(dtype)


@contextlib.contextmanager
def _posterior_noise(vae: "AutoencoderKL", noise: Tensor) -> Iterator[None]:
    """While it lasts, latents are drawn from the encoder's posterior with this noise."""
    encode = vae.encode

    def encode_with_noise(pixels: Tensor) -> SimpleNamespace:
        posterior = encode(pixels).latent_dist
        latents = posterior.mean + posterior.std * noise
        return SimpleNamespace(latent_dist=SimpleNamespace(sample=lambda: latents))

    vae.encode = encode_with_noise
    try:
        yield
    finally:
        del vae.encode  # the class's own is seen again


def _text(pipeline: "I2VGenXLPipeline", prompts: list[str]) -> Tensor:
    """Text embeddings `[b, 77, d]`: the last layer but one, normalised as the last one is."""
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    tokens = tokenizer(
        prompts,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids.to(encoder.device)
    states = encoder(tokens, output_hidden_states=True).hidden_states
    inner = getattr(encoder, "text_model", encoder)  # transformers 4 wraps it
    return inner.final_layer_norm(states[-2])
