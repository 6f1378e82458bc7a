"""`dynamicrafter eval sensitivity`: what FVD and KVD see of spoiled videos, and what they do not.

Real videos are compared with themselves, spoiled in one way at rising strength. Two halves of the
real videos give the floor: a corruption that stays below it at full strength goes unseen.
"""

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from dynamicrafter import files, pages
from dynamicrafter.command import choose_device, command
from dynamicrafter.errors import InputError
from dynamicrafter.features.network import Network
from dynamicrafter.tracking import open_run
from eval import samples
from eval.corruptions import CORRUPTIONS, Spoiled
from eval.extract import Features
from eval.inspection import Inspector
from eval.metrics.frechet import frechet_distance
from eval.metrics.kernel import kernel_distance
from eval.networks import Absent, distance_network
from eval.protocols import Protocol, protocol
from eval.spreadsheet import csv_lines
from eval.tables import protocol_table, significant, value_cell
from eval.windows import by_hash

main = command("eval_sensitivity", "eval.sensitivity")


@dataclass(frozen=True)
class Point:
    """Real videos against themselves, spoiled."""

    corruption: str
    strength: float
    fvd: float
    kvd: float


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the videos and of the network."""
    return {
        "reference": samples.reference_digest(config.reference),
        "network": _network(config, _protocol(config)).fingerprint,
    }


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Measure every corruption; write sensitivity.json, .csv and .html.

    Raises:
        InputError: fewer than 4 videos, an unknown corruption, weights that are absent.
    """
    chosen = _protocol(config)
    network = _network(config, chosen)
    kinds = list(config.corruptions or CORRUPTIONS)
    if unknown := [kind for kind in kinds if kind not in CORRUPTIONS]:
        raise InputError(f"there is no corruption {unknown[0]}; there are {', '.join(CORRUPTIONS)}")
    windows, _ = samples.other_windows(
        config.reference,
        config.count or 10**9,
        chosen,
        Inspector(config.inspect_workers, Path(config.features)),
    )
    if len(windows) < 4:
        raise InputError(
            f"{config.reference} has {len(windows)} videos of {chosen.span} frames, two halves "
            "need 4; name more with reference=FOLDER"
        )
    store = Features(
        Path(config.features), config.batch, config.workers, choose_device(config.device)
    )
    real = store.of(windows, [network], "real")[network.name].astype(np.float64)
    floor = _floor(real, [window.key for window in windows], chosen)
    points = []
    for kind in kinds:
        for strength in CORRUPTIONS[kind].strengths:
            spoiled = [Spoiled(window, kind, strength, chosen.seed) for window in windows]
            found = store.of(spoiled, [network], f"{kind} {strength:g}")[network.name]
            points.append(_point(kind, strength, real, found.astype(np.float64), chosen))
    blind = _blind(points, floor)
    whole = {
        "protocol": chosen.settings(),
        "network": network.fingerprint,
        "videos": len(windows),
        "floor": asdict(floor),
        "points": [asdict(point) for point in points],
        "blind": blind,
    }
    rows = [list(asdict(point).values()) for point in [floor, *points]]
    columns = ("corruption", "strength", "fvd", "kvd")
    files.write_text(folder / "sensitivity.csv", csv_lines(columns, rows))
    files.write_text(
        folder / "sensitivity.html", _page(chosen, network, len(windows), floor, points)
    )
    files.write_json(folder / "sensitivity.json", whole)
    plain = OmegaConf.to_container(config, resolve=True)
    with open_run(config.tracking, folder, "sensitivity", plain) as tracked:
        tracked.table("sensitivity", columns, rows)
    return {"videos": len(windows), "floor": floor.fvd, "blind": blind,
            "page": str(folder / "sensitivity.html")}  # fmt: skip


def _protocol(config: DictConfig) -> Protocol:
    return protocol(OmegaConf.to_container(config.protocol, resolve=True))


def _network(config: DictConfig, chosen: Protocol) -> Network:
    found = distance_network(chosen, config)
    if isinstance(found, Absent):
        raise InputError(f"{found.name}: {found.reason}")
    return found


def _floor(real: np.ndarray, keys: list[str], chosen: Protocol) -> Point:
    """Two halves of the real videos against each other, by the hash of their keys."""
    place = {key: index for index, key in enumerate(keys)}
    order = [place[key] for key in by_hash(keys)]
    half = len(order) // 2
    return _point("two halves", 0.0, real[order[:half]], real[order[half:]], chosen)


def _point(
    kind: str, strength: float, real: np.ndarray, other: np.ndarray, chosen: Protocol
) -> Point:
    fvd = frechet_distance(real, other, chosen.unbiased).value
    return Point(kind, strength, fvd, kernel_distance(real, other).value)


def _blind(points: list[Point], floor: Point) -> list[str]:
    """The corruptions that at full strength stay below the distance of two real halves."""
    strongest = {point.corruption: point for point in points}
    return [kind for kind, point in strongest.items() if point.fvd < floor.fvd]


def _page(
    chosen: Protocol, network: Network, videos: int, floor: Point, points: list[Point]
) -> str:
    charts, rows = [], []
    for kind in dict.fromkeys(point.corruption for point in points):
        what = CORRUPTIONS[kind]
        of_kind = [point for point in points if point.corruption == kind]
        strengths = [point.strength for point in of_kind]
        series = [
            pages.Series("spoiled", strengths, [point.fvd for point in of_kind]),
            pages.Series("two halves", strengths, [floor.fvd] * len(of_kind), faint=True),
        ]
        charts.append(pages.line_chart(series, what.name.capitalize(), what.unit, "FVD"))
        last = of_kind[-1]
        rising = all(a.fvd < b.fvd for a, b in itertools.pairwise(of_kind))
        unseen = "below that of two real halves: unseen" if last.fvd < floor.fvd else None
        rows.append(
            pages.Row(
                [what.name, "order in time" if what.in_time else "the picture", rising,
                 value_cell(last.fvd), value_cell(last.fvd / floor.fvd if floor.fvd else None)],
                reason=unseen,
            )
        )  # fmt: skip
    columns = [
        pages.Column("Corruption"), pages.Column("Spoils"), pages.Column("Rises all the way"),
        pages.Column("FVD at full strength", number=True),
        pages.Column("times the floor", number=True),
    ]  # fmt: skip
    values = {
        "protocol": chosen.settings(),
        "network": network.name,
        "videos": videos,
        "floor": significant(floor.fvd),
        "few": videos < 400,
        "charts": charts,
        "table": pages.table(columns, rows, "What FVD sees"),
        "blind": [CORRUPTIONS[kind].name for kind in _blind(points, floor)],
        "settings": protocol_table(chosen.settings()),
    }
    return pages.render("sensitivity.html", values, package="eval")
