"""From windows to rows: each metric with its network, its interval and what speaks against it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from omegaconf import DictConfig

from dynamicrafter.features.network import Network, metric_name
from dynamicrafter.statistics import mean_interval
from eval.extract import Features
from eval.metrics import similarity
from eval.metrics.inception_score import inception_score
from eval.metrics.intervals import (
    FvdEstimate,
    KvdEstimate,
    fvd_with_interval,
    kvd_with_interval,
)
from eval.networks import Absent, Networks, distance_network
from eval.protocols import Protocol
from eval.results import Row
from eval.samples import Compared, Sample
from eval.windows import Window

STILL = 0.1  # of the motion of the real videos; below it a likeness to the input is no merit
SPLITS = 10  # of the Inception Score


@dataclass
class Measured:
    """What was measured.

    Attributes:
        rows: one a number.
        per_video: values `[n]` of the samples in their order, by metric.
        curves: lines for the page, by name: x and y.
        features: of the distances, `[n, d]` each: generated and real.
    """

    rows: list[Row] = field(default_factory=list)
    per_video: dict[str, np.ndarray] = field(default_factory=dict)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    features: dict[str, np.ndarray] = field(default_factory=dict)


def measured(
    compared: Compared,
    others: Sequence[Window],
    protocol: Protocol,
    networks: Networks,
    config: DictConfig,
    store: Features,
) -> Measured:
    """Every metric of the generated videos; each is decoded once for all networks.

    Args:
        compared: the generated videos with what belongs to them.
        others: other real windows, for the distance of real from real.
        protocol: what the distances follow.
        networks: what else sees the videos.
        config: conf/eval.yaml.
        store: the features.
    """
    found = Measured()
    judge = distance_network(protocol, config)
    whole = [judge, networks.dreamsim, networks.clip, networks.lpips, networks.c3d]
    seeing = [one for one in whole if isinstance(one, Network)]
    generated = store.of(
        [sample.generated for sample in compared.samples],
        [*seeing, networks.motion, networks.flicker],
        "generated",
    )
    on_real = [networks.motion, *([judge] if isinstance(judge, Network) else [])]
    real = store.of(compared.real, on_real, "real") if compared.real else {}
    _distances(found, compared, generated, real, others, protocol, judge, store)
    _conformity(found, compared.samples, generated, networks.dreamsim, store)
    _text_likeness(found, compared.samples, generated, networks, config, store)
    _simple(found, generated, networks)
    _motion(found, compared, generated, real, networks.motion)
    _inception(found, generated, networks.c3d)
    found.rows = _against_stills(found.rows)
    return found


def distances(
    compared: Compared,
    others: Sequence[Window],
    protocol: Protocol,
    config: DictConfig,
    store: Features,
) -> list[Row]:
    """FVD and KVD alone, for another protocol beside the first."""
    found = Measured()
    judge = distance_network(protocol, config)
    seeing = [judge] if isinstance(judge, Network) else []
    title = f"{protocol.name} "
    generated = store.of([one.generated for one in compared.samples], seeing, title + "generated")
    real = store.of(compared.real, seeing, title + "real") if compared.real else {}
    _distances(found, compared, generated, real, others, protocol, judge, store)
    return found.rows


def _distances(
    found: Measured,
    compared: Compared,
    generated: dict[str, np.ndarray],
    real: dict[str, np.ndarray],
    others: Sequence[Window],
    protocol: Protocol,
    judge: Network | Absent,
    store: Features,
) -> None:
    """FVD and KVD: generated against real, and real against other real videos."""
    if isinstance(judge, Absent):
        found.rows += _absent_distances(compared, others, judge.name, judge.reason)
        return
    if not real:
        why = "there are no real videos to compare with"
        found.rows += _absent_distances(compared, others, judge.name, why)
        return
    x, y = real[judge.name].astype(np.float64), generated[judge.name].astype(np.float64)
    found.features = {"real": real[judge.name], "generated": generated[judge.name]}
    _distance_rows(found, "", "generated against real", judge, protocol, x, y, "generated")
    if others:
        z = store.of(others, [judge], "other real")[judge.name].astype(np.float64)
        _distance_rows(found, "_real", "real against real", judge, protocol, x, z, "other real")


def _distance_rows(
    found: Measured,
    end: str,
    what: str,
    judge: Network,
    protocol: Protocol,
    x: np.ndarray,
    y: np.ndarray,
    second: str,
) -> None:
    count = {second: len(y), "real": len(x)}
    shown = _short(judge.fingerprint)
    fvd = fvd_with_interval(x, y, protocol.unbiased, protocol.seed)
    label = metric_name("FVD", judge)
    row = Row(f"fvd{end}", f"{label}, {what}", count=count, network=shown)
    found.rows.append(_distance_row(row, fvd))
    if fvd.corrected is not None:
        better = replace(row, metric=f"fvd{end}_corrected", label=f"{label}, {what}, bias removed")
        found.rows.append(_interval_row(better, fvd.corrected))
    if fvd.infinite is not None:
        better = replace(row, metric=f"fvd{end}_infinite", label=f"{label}, {what}, at N = ∞")
        found.rows.append(_interval_row(better, fvd.infinite))
    if len(fvd.curve_n):
        curve = {"x": [float(n) for n in fvd.curve_n], "y": [float(v) for v in fvd.curve_values]}
        found.curves[f"fvd{end}"] = curve
    kvd = kvd_with_interval(x, y)
    row = Row(f"kvd{end}", f"{metric_name('KVD', judge)}, {what}", count=count, network=shown)
    found.rows.append(_distance_row(row, kvd))


def _conformity(
    found: Measured,
    samples: Sequence[Sample],
    generated: dict[str, np.ndarray],
    network: Network | Absent,
    store: Features,
) -> None:
    """PIC: likeness of the generated frames to the input image."""
    row = Row("pic", "PIC, likeness to the input image", count={"generated": len(samples)})
    if isinstance(network, Absent):
        found.rows.append(replace(row, network=network.name, reason=network.reason))
        return
    images = [sample.image for sample in samples]
    if any(image is None for image in images):
        found.rows.append(
            replace(row, network=network.name, reason="the input images are not known")
        )
        return
    inputs = store.of([one for one in images if one], [network], "input images")[network.name]
    result = similarity.perceptual_conformity(
        similarity.dreamsim_distance(inputs[:, 0], generated[network.name])
    )
    found.per_video["pic"] = result.per_video
    frames = [float(n) for n in range(1, len(result.per_frame) + 1)]
    found.curves["pic"] = {"x": frames, "y": [float(v) for v in result.per_frame]}
    found.rows.append(_mean_row(row, result.per_video, network.fingerprint))


def _text_likeness(
    found: Measured,
    samples: Sequence[Sample],
    generated: dict[str, np.ndarray],
    networks: Networks,
    config: DictConfig,
    store: Features,
) -> None:
    """CLIP-SIM: likeness of the frames to the prompt; and of the frames to each other."""
    count = {"generated": len(samples)}
    row = Row("clip_sim", "CLIP-SIM, likeness to the prompt", count=count)
    steady = Row("frame_consistency", "CLIP likeness of neighbouring frames", count=count)
    network = networks.clip
    if isinstance(network, Absent):
        absent = {"network": network.name, "reason": network.reason}
        found.rows += [replace(row, **absent), replace(steady, **absent)]
        return
    images = list(generated[network.name])
    prompts = [sample.prompt for sample in samples]
    if any(prompt is None for prompt in prompts):
        reason = "the prompts are not known"
        found.rows.append(replace(row, network=network.name, reason=reason))
    else:
        texts = store.texts([str(prompt) for prompt in prompts], network, config)
        result = similarity.clip_sim(images, texts)
        found.per_video["clip_sim"] = result.per_video
        found.rows.append(_mean_row(row, result.per_video, network.fingerprint))
    consistency = similarity.frame_consistency(images).per_video
    found.per_video["frame_consistency"] = consistency
    found.rows.append(_mean_row(steady, consistency, network.fingerprint))


def _simple(found: Measured, generated: dict[str, np.ndarray], networks: Networks) -> None:
    """Metrics that are a mean over videos of what one network says."""
    values: list[tuple[str, str, Network | Absent, Callable[[np.ndarray], np.ndarray]]] = [
        ("flicker", "Flicker, 1 for a still", networks.flicker, lambda v: v[:, 0]),
        ("lpips", "LPIPS to the first frame", networks.lpips, lambda v: v[:, 1:].mean(axis=1)),
    ]
    for metric, label, network, per_video in values:
        row = Row(metric, label, network=network.name)
        if isinstance(network, Absent):
            found.rows.append(replace(row, reason=network.reason))
            continue
        found.per_video[metric] = per_video(generated[network.name])
        row = replace(row, count={"generated": len(found.per_video[metric])})
        found.rows.append(_mean_row(row, found.per_video[metric], network.fingerprint))


def _motion(
    found: Measured,
    compared: Compared,
    generated: dict[str, np.ndarray],
    real: dict[str, np.ndarray],
    network: Network,
) -> None:
    """Object motion in the time of the scene: a still shows."""
    sides = {"generated": (generated, [sample.generated for sample in compared.samples])}
    if real:
        sides["real"] = (real, compared.real)
    for name, (features, windows) in sides.items():
        speeds = features[network.name][:, 0] * np.array([window.fps for window in windows])
        row = Row(f"motion_{name}", f"Motion, {name}", count={name: len(windows)})
        row = replace(row, unit="frame diagonals per second")
        found.rows.append(_mean_row(row, speeds, network.name))
        if name == "generated" or len(windows) == len(compared.samples):
            found.per_video[f"motion_{name}"] = speeds


def _inception(
    found: Measured, generated: dict[str, np.ndarray], network: Network | Absent
) -> None:
    row = Row("inception_score", "Inception Score", network=network.name)
    if isinstance(network, Absent):
        found.rows.append(replace(row, reason=network.reason))
        return
    probabilities = generated[network.name].astype(np.float64)
    row = replace(row, count={"generated": len(probabilities)}, network=_short(network.fingerprint))
    if len(probabilities) < 10 * SPLITS:
        reason = f"{len(probabilities)} videos are too few for {SPLITS} splits of 10"
        found.rows.append(replace(row, reason=reason))
        return
    score = inception_score(probabilities, SPLITS)
    spread = f"mean of {SPLITS} splits, which deviate by {score.deviation:.3g}"
    found.rows.append(replace(row, value=score.mean, reliable=True, reason=spread))


def _against_stills(rows: list[Row]) -> list[Row]:
    """A likeness to the input is no merit of videos that stand still."""
    value = {row.metric: row.value for row in rows}
    moved, real = value.get("motion_generated"), value.get("motion_real")
    if moved is None or real is None or moved >= STILL * real:
        return rows
    share = moved / real if real else 0.0
    reason = (
        f"the generated videos move {100 * share:.1f} % as much as the real ones: a still video "
        "is like its input"
    )
    favoured = ("pic", "lpips", "flicker", "frame_consistency")
    return [
        replace(row, reliable=False, reason=reason)
        if row.metric in favoured and row.value is not None
        else row
        for row in rows
    ]


def _absent_distances(
    compared: Compared, others: Sequence[Window], network: str, reason: str
) -> list[Row]:
    real = {"real": len(compared.real)}
    comparisons = [("", "generated against real", {"generated": len(compared.samples)} | real)]
    if others:
        comparisons.append(("_real", "real against real", {"other real": len(others)} | real))
    return [
        Row(metric + end, f"{metric.upper()}, {what}", count=count, network=network, reason=reason)
        for metric in ("fvd", "kvd")
        for end, what, count in comparisons
    ]


def _distance_row(row: Row, estimate: FvdEstimate | KvdEstimate) -> Row:
    interval = None if estimate.low is None else (estimate.low, estimate.high)
    return replace(
        row,
        value=estimate.value,
        interval=interval,
        reliable=estimate.warning is None,
        reason=estimate.warning,
    )


def _interval_row(row: Row, found) -> Row:
    return replace(row, value=found.value, interval=(found.low, found.high), reliable=True)


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


def _short(fingerprint: str) -> str:
    """`openclip/ViT-B-32/<64 digits>` → `openclip/ViT-B-32/<12 digits>`."""
    name, slash, digest = fingerprint.rpartition("/")
    return f"{name}{slash}{digest[:12]}" if slash else fingerprint
