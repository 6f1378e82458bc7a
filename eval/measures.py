"""From windows to rows: each metric with its network, its interval and what speaks against it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dynamicrafter import assets
from dynamicrafter.errors import InputError
from dynamicrafter.features import I3D_ASSET, MissingWeights
from dynamicrafter.features.clip import load_clip
from dynamicrafter.features.dreamsim import dreamsim_digest, load_dreamsim
from dynamicrafter.features.i3d import load_i3d, logits
from dynamicrafter.files import sha256_file
from dynamicrafter.media import motion as optical_flow
from dynamicrafter.statistics import jackknife, mean_interval
from eval.extract import Store
from eval.metrics.frechet import frechet_distance
from eval.metrics.kernel import kernel_distance
from eval.metrics.similarity import clip_sim, dreamsim_distance, perceptual_conformity
from eval.protocols import Protocol
from eval.results import Row
from eval.windows import Window

FEATURES = 400  # of I3D: with fewer samples their covariance is singular
GROUPS = 20  # of the jackknife


@dataclass(frozen=True)
class Networks:
    """Where the weights are that are no asset, and the device."""

    clip: str | None
    clip_name: str
    dreamsim: str | None
    device: torch.device


def distances(
    real: Sequence[Window],
    generated: Sequence[Window],
    other: Sequence[Window],
    protocol: Protocol,
    networks: Networks,
    store: Store,
) -> list[Row]:
    """FVD and KVD: generated against real, and real against other real clips."""
    comparisons = {
        "": ("generated against real", {"generated": len(generated), "real": len(real)}),
        "_real": ("real against real", {"real": len(real), "other real": len(other)}),
    }
    network = protocol.network
    try:
        model = load_i3d(assets.path(I3D_ASSET), protocol.network.removeprefix("i3d-"), networks.device)
    except InputError as error:
        return [
            Row(metric + end, f"{metric.upper()}, {what}", count=count, network=network,
                reason=str(error))
            for metric in ("fvd", "kvd")
            for end, (what, count) in comparisons.items()
        ]  # fmt: skip
    fingerprint = i3d_digest()
    network = f"{network}, {fingerprint[:12]}"

    def compute(windows: Sequence[Window]) -> np.ndarray:
        return logits(model, _frames(windows), protocol.resize, store.batch)

    def features(windows: Sequence[Window], title: str) -> np.ndarray:
        kind = f"{protocol.network}/{fingerprint}"
        return store.features(windows, kind, protocol.resize, compute, title)

    x = features(real, "I3D real")
    sets = {"": features(generated, "I3D generated"), "_real": features(other, "I3D other real")}
    fvd, kvd = [], []
    for end, (what, count) in comparisons.items():
        row = Row(f"fvd{end}", f"FVD, {what}", count=count, network=network)
        fvd += _fvd_rows(row, x, sets[end], protocol.unbiased)
        row = Row(f"kvd{end}", f"KVD, {what}", count=count, network=network)
        kvd += _kvd_rows(row, x, sets[end])
    return fvd + kvd


def conformity(
    real: Sequence[Window], generated: Sequence[Window], networks: Networks, store: Store
) -> Row:
    """PIC: likeness of the generated frames to the input image, which is the first real frame."""
    row = Row("pic", "PIC, likeness to the input image", count={"generated": len(generated)})
    try:
        if networks.dreamsim is None:
            raise MissingWeights("no DreamSim weights are named; pass dreamsim=FOLDER")
        network = load_dreamsim(networks.dreamsim, networks.device)
    except InputError as error:
        return replace(row, network="DreamSim ensemble", reason=str(error))

    def embeds(windows: Sequence[Window], count: int, title: str) -> np.ndarray:
        def compute(part: Sequence[Window]) -> np.ndarray:
            return np.stack([network.embeds(video[:count]) for video in _frames(part)])

        return store.features(windows, network.fingerprint, f"first {count} frames", compute, title)

    images = embeds(real, 1, "DreamSim real")[:, 0]  # [n, d]
    frames = embeds(generated, generated[0].frames, "DreamSim generated")  # [n, t, d]
    result = perceptual_conformity(dreamsim_distance(images, frames))
    return _mean_row(row, result.per_video, network.fingerprint)


def text_likeness(
    generated: Sequence[Window], prompts: Sequence[str], networks: Networks, store: Store
) -> Row:
    """CLIP-SIM: likeness of the generated frames to the prompt."""
    row = Row("clip_sim", "CLIP-SIM, likeness to the prompt", count={"generated": len(generated)})
    try:
        if networks.clip is None:
            raise MissingWeights("no CLIP weights are named; pass clip=FILE")
        network = load_clip(networks.clip, networks.clip_name, networks.device)
    except InputError as error:
        return replace(row, network=f"OpenCLIP {networks.clip_name}", reason=str(error))

    def compute(windows: Sequence[Window]) -> np.ndarray:
        return np.stack([network.images(video) for video in _frames(windows)])

    images = store.features(
        generated, network.fingerprint, "all frames", compute, "CLIP generated"
    )  # [n, t, d]
    result = clip_sim(list(images), network.texts(prompts))
    return _mean_row(row, result.per_video, network.fingerprint)


def motion(real: Sequence[Window], generated: Sequence[Window], store: Store) -> list[Row]:
    """Object motion of generated and of real videos, in the time of the scene: a still shows."""

    def compute(windows: Sequence[Window]) -> np.ndarray:
        measure = optical_flow.measure_motion
        return np.array([[measure(w.read(), w.fps).object_speed] for w in windows])

    # The module's own text stands for its constants and for what is done with them.
    kind = f"motion/{sha256_file(optical_flow.__file__)}"
    rows = []
    for name, windows in (("generated", generated), ("real", real)):
        speeds = store.features(windows, kind, "", compute, f"motion {name}")[:, 0]
        row = Row(f"motion_{name}", f"Motion, {name}", count={name: len(windows)})
        row = replace(row, unit="frame diagonals per second")
        rows.append(_mean_row(row, speeds, "optical flow"))
    return rows


def i3d_digest() -> str:
    """The digest of the I3D weights, or `absent`."""
    try:
        assets.path(I3D_ASSET)
    except InputError:
        return "absent"
    return assets.load_manifest()[I3D_ASSET].stored_sha256


def clip_digest(path: str | None) -> str:
    """The digest of a CLIP checkpoint, or `absent`."""
    return sha256_file(path) if path is not None and Path(path).is_file() else "absent"


def ensemble_digest(folder: str | None) -> str:
    """The digest of the DreamSim ensemble in a folder, or `absent`."""
    try:
        return "absent" if folder is None else dreamsim_digest(folder)
    except MissingWeights:
        return "absent"


def _fvd_rows(row: Row, x: np.ndarray, y: np.ndarray, unbiased: bool) -> list[Row]:
    """FVD as the protocol says; with samples enough also without its bias, with an interval."""

    def fvd(chosen: np.ndarray) -> float:
        return frechet_distance(x[chosen], y[chosen], unbiased).value

    value = frechet_distance(x, y, unbiased).value
    rows = [_judged(row, value, min(len(x), len(y)))]
    groups = min(GROUPS, len(x))
    if len(x) == len(y) and len(x) - -(-len(x) // groups) >= FEATURES:
        estimate = jackknife(fvd, len(x), groups)
        corrected = replace(
            rows[0], metric=f"{row.metric}_corrected", label=f"{row.label}, bias removed"
        )
        interval = (estimate.low, estimate.high)
        rows.append(replace(corrected, value=estimate.value, interval=interval))
    return rows


def _kvd_rows(row: Row, x: np.ndarray, y: np.ndarray) -> list[Row]:
    """KVD, unbiased at any count, with the interval of the jackknife."""

    def kvd(chosen: np.ndarray) -> float:
        return kernel_distance(x[chosen], y[chosen]).value

    judged = _judged(row, kernel_distance(x, y).value, min(len(x), len(y)))
    if len(x) != len(y) or len(x) < 4:
        return [judged]
    estimate = jackknife(kvd, len(x), min(GROUPS, len(x) // 2))
    return [replace(judged, interval=(estimate.low, estimate.high))]


def _judged(row: Row, value: float, samples: int) -> Row:
    """The row of a distance between sets; from too few samples it is not to be leant on."""
    if samples >= FEATURES:
        return replace(row, value=value, reliable=True)
    few = f"{samples} samples are fewer than the {FEATURES} features of the network"
    return replace(row, value=value, reason=few)


def _mean_row(row: Row, per_video: np.ndarray, network: str) -> Row:
    """The row of a mean over videos, with its Student interval."""
    interval = mean_interval(per_video)
    return replace(
        row,
        value=interval.value,
        interval=(interval.low, interval.high),
        network=_short(network),
        reliable=True,
    )


def _frames(windows: Sequence[Window]) -> np.ndarray:
    return np.stack([window.read() for window in windows])  # [b, t, h, w, 3]


def _short(fingerprint: str) -> str:
    """`openclip/ViT-B-32/<64 digits>` → `openclip/ViT-B-32/<12 digits>`."""
    name, slash, digest = fingerprint.rpartition("/")
    return f"{name}{slash}{digest[:12]}" if slash else fingerprint
