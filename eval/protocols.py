"""Protocols: everything that moves a metric besides the videos, under a name.

The same model scores FVD 219 to 486 on the same data in published reports, by protocol alone. So
the name is printed with each number, and a shipped name cannot be used with other settings.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any, get_args

import yaml

from dynamicrafter.errors import InputError
from dynamicrafter.features.i3d import EPSILON, MIN_FRAMES
from dynamicrafter.features.preprocess import Rule
from dynamicrafter.files import sha256_json


@dataclass(frozen=True)
class Protocol:
    """The settings of a protocol; `conf/protocol/` holds the shipped ones."""

    name: str
    count: int | None  # videos; None takes as many as there are
    frames: int
    stride: int  # source frames from one frame of a window to the next
    resolution: tuple[int, int]  # height, width in pixels
    condition: str  # first_frame: the model sees the first frame of the real window
    i3d: str  # tfhub or videogpt
    resize: Rule  # to the square of I3D
    covariance: str  # unbiased or biased

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
    for name, allowed in (
        ("condition", ("first_frame",)),
        ("i3d", tuple(EPSILON)),
        ("resize", get_args(Rule)),
        ("covariance", ("unbiased", "biased")),
    ):
        if getattr(found, name) not in allowed:
            raise InputError(
                f"protocol.{name}={getattr(found, name)}: it takes {' or '.join(allowed)}"
            )
    if found.frames < MIN_FRAMES or found.stride < 1 or min(found.resolution) < 16:
        raise InputError(
            f"protocol {found.name}: frames={found.frames} stride={found.stride} "
            f"resolution={list(found.resolution)}; at least {MIN_FRAMES}, 1 and 16 are needed"
        )
    _refuse_a_borrowed_name(found)
    return found


def _from_settings(settings: Mapping[str, Any]) -> Protocol:
    try:
        height, width = settings["resolution"]
        return Protocol(**{**settings, "resolution": (height, width)})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"protocol: {error}; conf/protocol/demo.yaml shows its settings") from None


def _refuse_a_borrowed_name(found: Protocol) -> None:
    shipped = resources.files("conf").joinpath("protocol", f"{found.name}.yaml")
    if not shipped.is_file():
        return
    original = _from_settings(yaml.safe_load(shipped.read_text(encoding="utf-8")))
    for name, value in asdict(original).items():
        if getattr(found, name) != value:
            raise InputError(
                f"protocol {found.name} has {name}={value}, not {getattr(found, name)}; "
                "give settings of your own a name of their own with protocol.name=NAME"
            )
