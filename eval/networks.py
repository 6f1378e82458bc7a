"""The networks of an evaluation by what they are for; one whose weights are absent says why.

Motion and flicker are no networks, but are seen, cached and named in the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from omegaconf import DictConfig

from dynamicrafter.features import MissingWeights
from dynamicrafter.features.c3d import c3d_network
from dynamicrafter.features.clip import clip_images_network
from dynamicrafter.features.dreamsim import dreamsim_network
from dynamicrafter.features.i3d import i3d_network
from dynamicrafter.features.lpips import lpips_network
from dynamicrafter.features.network import Network
from dynamicrafter.features.videomae import videomae_network
from dynamicrafter.files import sha256_file
from dynamicrafter.media import motion as optical_flow
from eval.metrics import similarity
from eval.protocols import Protocol


@dataclass(frozen=True)
class Absent:
    """A network that cannot be had, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Networks:
    """What sees the videos beside the network of the distances, which is the protocol's."""

    clip: Network | Absent
    dreamsim: Network | Absent
    lpips: Network | Absent
    c3d: Network | Absent
    motion: Network
    flicker: Network


def networks_of(config: DictConfig) -> Networks:
    """The networks that a config names, none of them loaded."""
    return Networks(
        _named("OpenCLIP", config.clip, "clip=FILE", lambda path: clip_images_network(
            path, config.clip_name)),
        _named("DreamSim ensemble", config.dreamsim, "dreamsim=FOLDER", dreamsim_network),
        _had("LPIPS", lpips_network),
        _named("C3D", config.c3d, "c3d=FILE", c3d_network),
        motion_network(),
        flicker_network(),
    )  # fmt: skip


def distance_network(protocol: Protocol, config: DictConfig) -> Network | Absent:
    """The network whose features FVD and KVD compare under a protocol."""
    rule, batch = protocol.resize, config.batch
    if protocol.network == "videomae-v2-ssv2":
        return _named(
            protocol.network,
            config.videomae,
            "videomae=FILE",
            lambda path: videomae_network(path, rule, batch=batch),
        )
    variant = protocol.network.removeprefix("i3d-")
    return _had(protocol.network, lambda: i3d_network(variant, rule, config.i3d, batch=batch))


def motion_network() -> Network:
    """Object motion without the camera's, in frame diagonals per frame of the window."""

    def load(device: object) -> Callable[[np.ndarray], np.ndarray]:
        measure = optical_flow.measure_motion
        return lambda videos: np.array([[measure(video, 1.0).object_speed] for video in videos])

    # The module's own text stands for its constants and for what is done with them.
    return Network("optical flow", f"motion/{sha256_file(optical_flow.__file__)}", "", load)


def flicker_network() -> Network:
    """Sameness of neighbouring frames, 1 for a still."""

    def load(device: object) -> Callable[[np.ndarray], np.ndarray]:
        return lambda videos: similarity.flicker(list(videos)).per_video[:, None]

    return Network("pixels", "pixels/flicker-1", "", load)


def _named(
    name: str, path: str | None, setting: str, build: Callable[[str], Network]
) -> Network | Absent:
    if path is None:
        return Absent(name, f"no weights are named; pass {setting}")
    return _had(name, lambda: build(path))


def _had(name: str, build: Callable[[], Network]) -> Network | Absent:
    try:
        return build()
    except MissingWeights as error:
        return Absent(name, str(error))
