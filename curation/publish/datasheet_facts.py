"""What a datasheet tells, counted in one pass over the tables and one over the samples."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.passes.decide import DECISIONS
from curation.passes.filters import SPLITS
from curation.passes.gather import FACTS, IDENTITY, TABLE
from curation.publish.infos import iterate_infos
from curation.publish.spread import Names, Spread
from curation.tables import iterate_batches
from dynamicrafter.shards import may_be_passed_on

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FEMALE = _set(
    "she her hers herself woman women girl girls lady ladies female mother daughter wife sister "
    "actress grandmother queen bride"
)
MALE = _set(
    "he him his himself man men boy boys gentleman gentlemen male father son husband brother actor "
    "grandfather king groom"
)
COMMON = _set(
    "a an and are as at be by for from in into is it its of off on or out over several some that "
    "the their then there this to two under up with while"
)


@dataclass
class Measured:
    """A measure among the clips that stay."""

    name: str
    unit: str
    is_flag: bool
    spread: Spread = field(default_factory=Spread)
    true: int = 0  # of a flag
    unknown: int = 0


@dataclass
class Samples:
    """What the samples say of themselves."""

    count: int = 0
    seconds: float = 0.0
    sources: Names = field(default_factory=Names)
    may_leave: Counter[str] = field(default_factory=Counter)
    licences: Names = field(default_factory=Names)
    captioners: Names = field(default_factory=Names)
    digests: dict[str, Names] = field(default_factory=dict)
    sizes: Names = field(default_factory=Names)
    rates: Names = field(default_factory=Names)
    categories: Names = field(default_factory=Names)
    no_wording: int = 0
    no_caption: int = 0
    doing: Names = field(default_factory=lambda: Names(20_000))  # words in -ing of the wordings
    words: Names = field(default_factory=lambda: Names(20_000))  # of the stock captions
    female: int = 0
    male: int = 0


def measured_columns(folder: Path) -> list[pa.Field]:
    """The numbers and flags among the measures of a run."""
    apart = {one.name for one in [*IDENTITY, *FACTS]}
    return [
        one
        for one in pq.read_schema(folder / TABLE)
        if one.name not in apart
        and (pa.types.is_floating(one.type) or pa.types.is_boolean(one.type))
    ]


def unit_of(one: pa.Field) -> str:
    """The unit that a column states."""
    return (one.metadata or {}).get(b"unit", b"").decode()


def measures_of_kept(folder: Path) -> list[Measured]:
    """Every measure among the rows that stay."""
    columns = measured_columns(folder)
    found = [Measured(one.name, unit_of(one), pa.types.is_boolean(one.type)) for one in columns]
    names = [one.name for one in columns]
    decided = iterate_batches(folder / DECISIONS, columns=["kept"])
    for batch, row in zip(iterate_batches(folder / TABLE, columns=names), decided, strict=True):
        kept = np.array(row["kept"].to_pylist(), bool)
        for one in found:
            values = batch[one.name].cast(pa.float64()).to_numpy()[kept]
            one.spread.add(values)
            one.true += int((values == 1).sum())
            one.unknown += int(np.isnan(values).sum())
    return found


def samples_of(folder: Path) -> Samples:
    """What all samples of a run's shards say."""
    found = Samples()
    for split in SPLITS:
        for _, info in iterate_infos(folder / "dataset" / split):
            _add(found, info)
    return found


def _add(found: Samples, info: dict[str, Any]) -> None:
    found.count += 1
    found.seconds += info["end_s"] - info["start_s"]
    source = info["source"]
    found.sources.add([source["name"]])
    if may_be_passed_on(info):
        found.may_leave[source["name"]] += 1
    licence = source.get("licence") or source.get("license")
    found.licences.add([licence if isinstance(licence, str) else None])
    found.captioners.add([info["caption"]["source"]])
    for step, digest in info["digests"].items():
        if step != "source":  # of the file
            found.digests.setdefault(step, Names(20)).add([str(digest)])
    found.sizes.add([f"{info['width']}×{info['height']}"])
    found.rates.add([f"{info['fps']:.4g}"])
    found.categories.add([str(info["dynamic_source_category"])])
    stock, wording = str(info["name"]), str(info["dynamic_wording"])
    found.no_caption += stock == "none"
    found.no_wording += wording == "none"
    words = _words(stock) if stock != "none" else []
    moving = _words(wording) if wording != "none" else []
    found.words.add(sorted(set(words) - COMMON))
    found.doing.add(sorted({word for word in moving if word.endswith("ing") and len(word) > 4}))
    said = {*words, *moving}
    found.female += bool(said & FEMALE)
    found.male += bool(said & MALE)


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold()[:4000])
