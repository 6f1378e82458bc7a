"""What a stage will need of encoded clips is made before its first step, if it is not there yet.

Made at the start and not at first use: loader processes decode whole clips side by side, ranks
share them, memory is bounded by a clip a loader, and every step takes equally long. Which clips a
stage needs is known, since the order is a function of the seed. All frames of them are encoded, so
that any window of any later run is there.

Several runs may share the folder. One of them fills what it needs, the others wait for it; whatever
is there is not made again, also after a kill. What cannot be found at a step is encoded in that
step, to the same bits.
"""

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import open_clip
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import Dataset

from dynamicrafter import files
from dynamicrafter.command import say
from dynamicrafter.errors import MediaError, ToolkitError
from dynamicrafter.loaders import loaded
from dynamicrafter.model.animation import AnimationModel
from dynamicrafter.progress import progress
from dynamicrafter.ranks import Ranks
from train import parallel
from train.data import ClipWindows, EncodedClips, Place
from train.data.encoded import FILLED, FINGERPRINT, is_there, sides_of, write_rows
from train.data.loader import TOO_MUCH
from train.data.windows import caption_of
from train.encoded.frozen import frame_moments, frames_per_call, prompt_states, prompts_per_call
from train.holding import held
from train.objectives import Diffusion, Objective, to_video

VERSION = 1  # of what is computed and how it is written; raise it where either changes
CALLS_AT_ONCE = 16  # of the autoencoder, whose frames are on the device together
ENCODER_PARTS = ("encoder.", "quant_conv.")  # of the autoencoder, that decide moments


def kept_windows(
    config: DictConfig,
    windows: ClipWindows,
    samples: int,
    model: AnimationModel,
    objective: Objective,
    ranks: Ranks,
) -> ClipWindows:
    """The windows of a stage, read from `encoded.folder` where the config names one.

    What the first `samples` of them need is encoded first. The model computes as it does in a
    step: it is placed, and the caller is inside the encoders' context.

    A stage that trains an encoder gets its windows as they are.
    """
    if not config.encoded.folder or not isinstance(objective, Diffusion) or _is_trained(model):
        return windows
    root = Path(config.encoded.folder).expanduser()
    prints = fingerprints(model, tuple(config.model.resolution))
    folders = {kind: root / f"{kind}-{files.sha256_json(facts)[:16]}" for kind, facts in prints}
    encoded = EncodedClips(folders["moments"], folders["texts"], objective.draws_condition)
    places = needed_places(windows, samples)
    wanted = {
        "folders": sorted(folder.name for folder in folders.values()),
        "captions": windows.window.captions,
        "clips": [[place.data.frames.reader.digest, place.clip] for place in places],
    }
    filled = root / FILLED / files.sha256_json(wanted)[:32]
    if parallel.from_leader(ranks, lambda: filled.exists() and not config.verify_data):
        return windows.with_encoded(encoded)
    waiting = f"{root}: another run is encoding clips; waiting for it"
    with held(root, ranks, waiting):
        if not parallel.from_leader(ranks, filled.exists) or config.verify_data:
            if ranks.leads:
                for kind, facts in prints:
                    files.write_json(folders[kind] / FINGERPRINT, facts)
            work = _WholeClips(places[ranks.rank :: ranks.count], encoded, windows, config)
            _fill(work, model, encoded, config.loader_workers, ranks)
            parallel.gathered(ranks, None)  # all are done
            if ranks.leads:
                files.write_json(filled, {"clips": len(places)})
    return windows.with_encoded(encoded)


def fingerprints(
    model: AnimationModel, size: tuple[int, int]
) -> tuple[tuple[str, dict[str, Any]], ...]:
    """All that decides moments of frames of a `size`, and all that decides states of captions.

    How many threads or GPUs of which make compute them is left out: it changes rounding alone.
    """
    device, autocast = model.device, torch.is_autocast_enabled(model.device.type)
    common = {
        "version": VERSION,
        "device": device.type,
        "precision": "bf16" if autocast else "fp32",
        "torch": torch.__version__,
    }
    moments = {
        **common,
        "autoencoder": digest_of(model.first_stage_model, ENCODER_PARTS),
        "settings": repr(model.config.autoencoder),
        "size": list(size),
        "cut": "short side to the size, bilinear in the decoder, then the centre",
        "decoder": f"PyAV {av.__version__}",
        "frames_per_call": frames_per_call(device, *size),
    }
    texts = {
        **common,
        "text_encoder": digest_of(model.cond_stage_model, ("",)),
        "settings": repr(model.config.clip),
        "skipped_blocks": model.cond_stage_model.skipped_blocks,
        "tokenizer": f"open_clip {open_clip.__version__}",
        "prompts_per_call": prompts_per_call(device),
    }
    return ("moments", moments), ("texts", texts)


def digest_of(module: nn.Module, prefixes: tuple[str, ...]) -> str:
    """SHA-256 of the tensors of a module whose names begin so: names, types, shapes, contents."""
    found = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.startswith(prefixes):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def needed_places(windows: ClipWindows, samples: int) -> list[Place]:
    """A place of every clip that the first `samples` sample numbers see, in that order."""
    found: dict[tuple[str, int], Place] = {}
    for number in range(samples):
        place = windows.locate(number)
        found.setdefault((place.data.name, place.clip), place)
        if len(found) == windows.selection.clips:
            break
    return list(found.values())


@dataclass(frozen=True)
class _Whole:
    """A clip to be encoded; `frames` uint8 `[n, h, w, 3]`, or None if its moments are there."""

    path: Path
    sides: str
    frames: Tensor | None
    caption: str


class _WholeClips(Dataset):
    """Clip → what of it is still to be encoded; None for one that cannot be decoded."""

    def __init__(
        self,
        places: list[Place],
        encoded: EncodedClips,
        windows: ClipWindows,
        config: DictConfig,
    ):
        self.places = places
        self._encoded, self._captions = encoded, windows.window.captions
        self._verify = bool(config.verify_data)

    def __getitem__(self, number: int) -> _Whole | ToolkitError | None:
        place = self.places[number]
        try:
            sample = place.sample()
            caption = caption_of(sample, self._captions)
            path = self._encoded.clip_path(place.data.frames.reader, place.clip)
            sides, frames = sides_of(sample), None
            if not is_there(path, sides, verify=self._verify):
                decoded = place.data.frames.decode(sample, range(place.clip_frames))
                frames = torch.from_numpy(decoded)
        except MediaError:  # its stand-in is found when it is asked for
            return None
        except ToolkitError as error:
            return error
        return _Whole(path, sides, frames, caption)


def _fill(
    work: _WholeClips, model: AnimationModel, encoded: EncodedClips, workers: int, ranks: Ranks
) -> None:
    count = len(work.places)
    positions = [[number] for number in range(count)]
    known: set[str] = set()
    with _progress(encoded, count, ranks) as advance:
        for (whole,) in loaded(
            work, positions, _alone, workers, TOO_MUCH, torch.cuda.is_available(), prefetched=1
        ):
            if whole is not None and whole.frames is not None:
                write_rows(whole.path, _clip_moments(model, whole.frames), whole.sides)
            for text in {whole.caption, ""} - known if whole is not None else ():
                path = encoded.text_path(text)
                if not is_there(path, verify=True):
                    write_rows(path, prompt_states(model, [text]))
                known.add(text)
            advance(1)


def _clip_moments(model: AnimationModel, frames: Tensor) -> Tensor:
    """uint8 `[n, H, W, 3]` → `[n, 2z, h, w]`, a few calls' frames on the device at a time."""
    size = CALLS_AT_ONCE * frames_per_call(model.device, *frames.shape[1:3])
    parts = (to_video(part[None], model.device) for part in frames.split(size))
    return torch.cat([frame_moments(model, video)[0].cpu() for video in parts])


def _progress(
    encoded: EncodedClips, count: int, ranks: Ranks
) -> contextlib.AbstractContextManager[Callable[[int], None]]:
    if not ranks.leads:
        return contextlib.nullcontext(lambda count: None)
    names = f"{encoded.moments.name}, {encoded.texts.name}"
    say(f"{encoded.moments.parent}: encoding what is not there yet of {count} clips ({names})")
    return progress("encoding", count, "clips")


def _alone(rows: list) -> Any:
    """A batch of one, in a tuple, so that None can be told from the end; an error as it is."""
    return rows[0] if isinstance(rows[0], ToolkitError) else (rows[0],)


def _is_trained(model: AnimationModel) -> bool:
    """Whether one of the encoders changes while the stage is trained."""
    parts = (model.first_stage_model, model.cond_stage_model)
    return any(p.requires_grad for part in parts for p in part.parameters())
