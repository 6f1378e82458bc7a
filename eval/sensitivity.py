"""`dynamicrafter eval sensitivity`: what FVD and KVD see of spoiled videos, and what they do not.

Real videos are compared with themselves, spoiled in one way at rising strength. Then they are cut
in two halves at random, several times: one half against the other, and against the other spoiled. A
corruption that at full strength raises this distance by less than it scatters from cut to cut goes
unseen. Both distances are of as many videos, so their bias is the same.
"""

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from dynamicrafter import files, pages
from dynamicrafter.command import command
from dynamicrafter.draws import generator
from dynamicrafter.errors import InputError
from dynamicrafter.features.network import Network
from dynamicrafter.pages.tables import number
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

main = command("eval_sensitivity", "eval.sensitivity")

CUTS = 10  # of the real videos into two halves


@dataclass(frozen=True)
class Point:
    """Real videos against themselves, spoiled.

    `rise` is of the FVD of two halves where one of them is spoiled, 0.1 for a tenth.
    """

    corruption: str
    strength: float
    fvd: float
    kvd: float
    rise: float


@dataclass(frozen=True)
class Floor:
    """FVD of two real halves: the mean over the cuts, and their deviation as a share of it."""

    fvd: float
    scatter: float


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
    store = Features(Path(config.features), config.batch, config.workers, config.device)
    real = store.of(windows, [network], "real")[network.name].astype(np.float64)
    cuts = _cuts(len(windows), chosen.seed)
    halves = np.array([_fvd(real[a], real[b], chosen) for a, b in cuts])
    floor = Floor(float(halves.mean()), float(halves.std(ddof=1) / halves.mean()))
    points = []
    for kind in kinds:
        for strength in CORRUPTIONS[kind].strengths:
            spoiled = [Spoiled(window, kind, strength, chosen.seed) for window in windows]
            found = store.of(spoiled, [network], f"{kind} {strength:g}")[network.name]
            found = found.astype(np.float64)
            mixed = np.array([_fvd(real[a], found[b], chosen) for a, b in cuts])
            rise = float((mixed / halves).mean()) - 1
            fvd, kvd = _fvd(real, found, chosen), kernel_distance(real, found).value
            points.append(Point(kind, strength, fvd, kvd, rise))
    blind = _blind(points, floor)
    whole = {
        "protocol": chosen.settings(),
        "network": network.fingerprint,
        "videos": len(windows),
        "floor": asdict(floor),
        "points": [asdict(point) for point in points],
        "blind": blind,
    }
    rows = [list(asdict(point).values()) for point in points]
    columns = ("corruption", "strength", "fvd", "kvd", "rise")
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


def _cuts(count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Halves of `count` videos, `CUTS` times at random."""
    orders = [generator(seed, cut, "halves").permutation(count) for cut in range(CUTS)]
    return [(order[: count // 2], order[count // 2 : 2 * (count // 2)]) for order in orders]


def _fvd(x: np.ndarray, y: np.ndarray, chosen: Protocol) -> float:
    return frechet_distance(x, y, chosen.unbiased).value


def _blind(points: list[Point], floor: Floor) -> list[str]:
    """The corruptions that at full strength raise the distance by less than it scatters."""
    strongest = {point.corruption: point for point in points}
    return [kind for kind, point in strongest.items() if point.rise < floor.scatter]


def _page(
    chosen: Protocol, network: Network, videos: int, floor: Floor, points: list[Point]
) -> str:
    charts, rows, blind = [], [], _blind(points, floor)
    for kind in dict.fromkeys(point.corruption for point in points):
        what = CORRUPTIONS[kind]
        of_kind = [point for point in points if point.corruption == kind]
        strengths = [point.strength for point in of_kind]
        curve = pages.Series("spoiled", strengths, [point.fvd for point in of_kind])
        charts.append(pages.line_chart([curve], what.name.capitalize(), what.unit, "FVD"))
        last = of_kind[-1]
        rising = all(a.fvd < b.fvd for a, b in itertools.pairwise(of_kind))
        unseen = "rises less than two real halves scatter" if kind in blind else None
        rows.append(
            pages.Row(
                [what.name, "order in time" if what.in_time else "the picture", rising,
                 value_cell(last.fvd), pages.Cell(last.rise, number(100 * last.rise) + " %")],
                reason=unseen,
            )
        )  # fmt: skip
    columns = [
        pages.Column("Corruption"), pages.Column("Spoils"), pages.Column("Rises all the way"),
        pages.Column("FVD at full strength", number=True),
        pages.Column("rise of two halves", number=True),
    ]  # fmt: skip
    values = {
        "protocol": chosen.settings(),
        "network": network.name,
        "videos": videos,
        "floor": significant(floor.fvd),
        "scatter": f"{100 * floor.scatter:.0f}",
        "few": videos < 400,
        "charts": charts,
        "table": pages.table(columns, rows, "What FVD sees"),
        "blind": [CORRUPTIONS[kind].name for kind in blind],
        "settings": protocol_table(chosen.settings()),
    }
    return pages.render("sensitivity.html", values, package="eval")
