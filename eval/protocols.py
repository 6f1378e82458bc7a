"""Protocols: everything that moves a metric besides the videos, under a name.

The same model scores FVD 219 to 486 on the same data in published reports, by protocol alone. So
the name is printed with each number, and a shipped name cannot be used with other settings.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, get_args

import yaml

from dynamicrafter.errors import InputError
from dynamicrafter.features.i3d import MIN_FRAMES
from dynamicrafter.features.network import Rule
from dynamicrafter.files import sha256_json

NETWORKS = ("i3d-tfhub", "i3d-videogpt", "videomae-v2-ssv2")
ALLOWED = {
    "condition": ("first_frame",),
    "choice": ("hash", "by_class", "all"),
    "start": ("first", "random"),
    "captions": ("one", "all"),
    "network": NETWORKS,
    "resize": get_args(Rule),
    "covariance": ("unbiased", "biased"),
}


@dataclass(frozen=True)
class Protocol:
    """The settings of a protocol; `conf/protocol/` holds the shipped ones.

    Attributes:
        name: printed with each number.
        count: videos; None takes as many as there are.
        choice: which ones. hash: those with the lowest hashes of seed and name; by_class: drawn so
            that classes have their shares of the benchmark's training set; all: every one.
        start: where a real window begins: first frame, or at random by seed and name.
        seed: of choice, start and caption.
        captions: `one` a video, drawn by seed and name, or `all`, each a sample of its own.
        frames: of a window.
        stride: source frames from one frame of a window to the next.
        resolution: height and width in pixels, to which both sides are cut and resized.
        condition: first_frame: the model sees the first frame of the real window.
        sampling: settings of `animate` that the videos must be made with; None leaves them free.
        checkpoint: the released model that the protocol is about; None leaves it free.
        network: whose features FVD and KVD compare.
        resize: how frames come to the network's square.
        covariance: over N - 1 (unbiased) or N (biased).
    """

    name: str
    count: int | None
    choice: str
    start: str
    seed: int
    captions: str
    frames: int
    stride: int
    resolution: tuple[int, int]
    condition: str
    sampling: dict[str, Any] | None
    checkpoint: str | None
    network: str
    resize: Rule
    covariance: str

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the settings."""
        return sha256_json(asdict(self))

    @property
    def unbiased(self) -> bool:
        """Whether the covariance is taken over N - 1."""
        return self.covariance == "unbiased"

    @property
    def span(self) -> int:
        """Frames that a real clip must have."""
        return (self.frames - 1) * self.stride + 1

    def settings(self) -> dict[str, Any]:
        """Name, digest and settings, as they stand in `results.json`."""
        return {"digest": self.digest, **asdict(self)}


def protocol(settings: Mapping[str, Any]) -> Protocol:
    """The protocol of the `protocol` part of a config.

    Raises:
        InputError: a setting is missing, unknown or out of range, or a shipped protocol's name
            stands with other settings.
    """
    found = _from_settings(settings)
    for name, allowed in ALLOWED.items():
        if getattr(found, name) not in allowed:
            raise InputError(
                f"protocol.{name}={getattr(found, name)}: it takes {' or '.join(allowed)}"
            )
    if found.frames < MIN_FRAMES or found.stride < 1 or min(found.resolution) < 16:
        raise InputError(
            f"protocol {found.name}: frames={found.frames} stride={found.stride} "
            f"resolution={list(found.resolution)}; at least {MIN_FRAMES}, 1 and 16 are needed"
        )
    if found.count is not None and found.count < 2:
        raise InputError(f"protocol.count={found.count}: at least 2, or null for all there are")
    original = shipped().get(found.name)
    if original is not None:
        _refuse_a_borrowed_name(found, original)
    return found


@functools.cache
def shipped() -> Mapping[str, Protocol]:
    """The protocols of `conf/protocol/`, by name."""
    folder = resources.files("conf").joinpath("protocol")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    texts = (folder.joinpath(name).read_text(encoding="utf-8") for name in files)
    found = [_from_settings(yaml.safe_load(text)) for text in texts]
    return MappingProxyType({one.name: one for one in found})


def _from_settings(settings: Mapping[str, Any]) -> Protocol:
    try:
        height, width = settings["resolution"]
        return Protocol(**{**settings, "resolution": (height, width)})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"protocol: {error}; conf/protocol/demo.yaml shows its settings") from None


def _refuse_a_borrowed_name(found: Protocol, original: Protocol) -> None:
    for name, value in asdict(original).items():
        if getattr(found, name) != value:
            raise InputError(
                f"protocol {found.name} has {name}={value}, not {getattr(found, name)}; "
                "give settings of your own a name of their own with protocol.name=NAME"
            )
