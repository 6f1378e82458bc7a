"""The project's metrics under the names of the figures in `tests/golden/metrics`."""

import re
import zlib
from collections.abc import Sequence

import numpy as np
import torch

from dynamicrafter import assets
from dynamicrafter.features import i3d
from dynamicrafter.features import preprocess as resize
from dynamicrafter.features.layers import i3d as layers
from dynamicrafter.statistics import extrapolate
from eval.metrics import frechet as frechet_metric
from eval.metrics import inception_score as inception
from eval.metrics import kernel as kernel_metric
from eval.metrics import similarity


def frechet(x: np.ndarray, y: np.ndarray, unbiased: bool = True) -> float:
    return frechet_metric.frechet_distance(x, y, unbiased).value


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    return kernel_metric.kernel_distance(x, y).value


def kernel_subsets(x: np.ndarray, y: np.ndarray, ix: np.ndarray, iy: np.ndarray) -> np.ndarray:
    return kernel_metric.kernel_subsets(x, y, ix, iy).values


def i3d_seeded(video: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits [400] and pooled [1024] of a video [1, 3, t, 224, 224] with the recipe's weights."""
    model = layers.I3D(eps)
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    shapes = {name: tuple(model.state_dict()[name].shape) for name in names}
    weights = {name: torch.from_numpy(recipe_weight(name, shape)) for name, shape in shapes.items()}
    model.load_state_dict(weights)
    return run(model.eval(), torch.as_tensor(video, dtype=torch.float32))


def i3d_real(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of frames uint8 [t, 224, 224, 3] with the Kinetics-400 weights."""
    video = torch.from_numpy(frames)[None]
    return run(real_i3d(), resize.preprocess(video, "direct_bilinear_halfpixel", 224))


def real_i3d() -> layers.I3D:
    (weights,) = assets.fetch(["i3d-kinetics-400"])
    return i3d.load_i3d(weights)


@torch.inference_mode()
def run(model: layers.I3D, video: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    logits, pooled = model(video)
    return logits[0].numpy(), pooled[0].numpy()


def recipe_noise(count: int, salt: int) -> np.ndarray:
    """Hashed integers as float64 in (-0.5, 0.5)."""
    x = (np.arange(count, dtype=np.uint64) + 0x9E3779B1 * (salt + 1)) % 2**32
    x ^= x >> np.uint64(16)
    x = x * 0x7FEB352D % 2**32
    x ^= x >> np.uint64(15)
    x = x * 0x846CA68B % 2**32
    x ^= x >> np.uint64(16)
    return (x + 0.5) / 2**32 - 0.5


def recipe_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    u = recipe_noise(int(np.prod(shape)), zlib.crc32(name.encode())).reshape(shape)
    if name.endswith("conv3d.weight"):
        u *= np.sqrt(12) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("bn.weight"):
        u = 1 + 0.4 * u
    elif name.endswith("running_var"):
        u = 0.9 + 0.8 * u
    else:
        u *= 0.2
    return u.astype(np.float32)


def recipe_video(t: int) -> np.ndarray:
    """The recipe's input [1, 3, t, 224, 224]."""
    c, f, h, w = np.ogrid[:3, :t, :224, :224]
    wave = np.sin(0.05 * h + 0.9 * c + 0.31 * f) * np.cos(0.037 * w - 0.2 * f + 0.5 * c)
    noise = recipe_noise(wave.size, 12345).reshape(wave.shape)
    return np.clip(0.6 * wave + 0.6 * noise, -1, 1).astype(np.float32)[None]


RULES = {"direct_to": "direct_bilinear_halfpixel", "tf1_legacy": "tf1_legacy_bilinear"}


def preprocess(video: np.ndarray, rule: str, size: int) -> np.ndarray:
    """Videos uint8 [n, t, h, w, 3] → float64 [n, 3, t, size, size] in [-1, 1].

    The rule may be an array's name, as `direct_to_14_antialias`.
    """
    rule = re.sub(r"_\d+", "", rule)
    rule = RULES.get(rule, rule.replace("direct_to_anti", "direct_bilinear_anti"))
    return resize.preprocess(torch.from_numpy(video), rule, size, torch.float64).numpy()


def clip_sim(image_embeds: Sequence[np.ndarray], text_embeds: np.ndarray) -> dict[str, object]:
    """Of arrays [v, t, d] or lists of [t, d]; `ragged_...` where t differs, else per frame."""
    result = similarity.clip_sim(image_embeds, text_embeds)
    cosines = similarity.frame_text_cosines(image_embeds, text_embeds)
    frames = np.concatenate(cosines)
    found: dict[str, object] = {"clipsim": result.value, "per_video": result.per_video}
    if result.count > 1:
        found["clipsim_std_over_videos_ddof1"] = result.per_video.std(ddof=1)
    if len({len(video) for video in cosines}) > 1:
        found["ragged_mean_of_video_means"] = result.value
        found["ragged_mean_over_frames"] = frames.mean()
    else:
        found["per_frame_cos"] = np.stack(cosines)
    found["clipscore_100_clamped_per_frame"] = np.maximum(100 * frames, 0).mean()
    found["clipscore_100_clamped_after_mean"] = max(100 * frames.mean(), 0)
    if min(len(video) for video in cosines) > 1:
        consistency = similarity.frame_consistency(image_embeds)
        found["frame_consistency"] = consistency.value
        found["frame_consistency_per_video"] = consistency.per_video
    return found


def pic(distance: np.ndarray) -> dict[str, object]:
    result = similarity.perceptual_conformity(distance)
    return {
        "pic": result.value,
        "pic_per_video": result.per_video,
        "pic_excluding_first_frame": result.value_without_first,
        "pic_per_frame_curve": result.per_frame,
    }


def dreamsim_head(inputs: np.ndarray, frames: np.ndarray) -> dict[str, object]:
    distance = similarity.dreamsim_distance(inputs, frames)
    return {
        "dreamsim_distance": distance,
        "dreamsim_half_l2_squared": distance,  # of vectors of length 1 the same
        "dreamsim_distance_without_mean_subtraction": 1
        - np.stack(similarity.frame_text_cosines(frames, inputs)),
        "dreamsim_pic": pic(distance)["pic"],
    }


def inception_score(probs: np.ndarray) -> dict[str, object]:
    result = inception.inception_score(probs, splits=5)
    return {
        "is_all": result.value,
        "is_splits5": result.per_split,
        "is_mean": result.mean,
        "is_std_ddof0": result.deviation,
    }


def flicker(video: np.ndarray) -> dict[str, object]:
    return {
        "vbench_temporal_flickering": similarity.flicker([video]).value,
        "mae_per_pair": similarity.frame_changes(video),
    }


def fvd_infinity(n: np.ndarray, fvd: np.ndarray) -> dict[str, object]:
    line = extrapolate(n, fvd)
    return {"fvd_inf": line.value, "slope": line.slope}
