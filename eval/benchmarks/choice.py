"""Which entries of a benchmark are chosen, as the protocol says: a function of seed and keys."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dynamicrafter.draws import generator
from dynamicrafter.errors import InputError
from eval.benchmarks.catalogue import Catalogue, Entry, Words
from eval.protocols import Protocol


@dataclass
class Queue:
    """Entries in the order in which they are tried until `need` are good; None tries them all."""

    name: str
    entries: list[Entry]
    need: int | None
    good: list[Entry] = field(default_factory=list)

    @property
    def lack(self) -> int:
        """How many good ones are still wanted."""
        return 0 if self.need is None else self.need - len(self.good)


def queues(catalogue: Catalogue, entries: Sequence[Entry], protocol: Protocol) -> list[Queue]:
    """The order of trial that the protocol's choice gives; entries are those of the catalogue.

    Raises:
        InputError: by_class without a number of videos, or of a benchmark without training classes.
    """
    if protocol.choice == "all":
        return [Queue("videos", list(entries), None)]
    ordered = by_hash(entries, protocol.seed)
    if protocol.choice == "hash":
        return [Queue("videos", ordered, protocol.count)]
    if protocol.count is None:
        raise InputError("protocol.choice=by_class needs a number of videos, protocol.count=N")
    if not catalogue.shares:
        raise InputError(
            "protocol.choice=by_class goes by the sizes of classes in a training list, and there "
            "is none; choose a protocol with choice=hash or all"
        )
    groups = defaultdict(list)
    for entry in ordered:
        groups[entry.group].append(entry)
    needs = quotas(catalogue.shares, protocol.count)
    return [Queue(f"videos of {name}", groups[name], need) for name, need in needs.items()]


def quotas(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """`count` shared out in proportion to sizes, by largest remainder; ties go to the first."""
    total = sum(sizes.values())
    shared = {name: size * count // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(sizes[name] * count % total))
    for name in by_remainder[: count - sum(shared.values())]:
        shared[name] += 1
    return shared


def by_hash(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """Entries in the order of the hashes of seed and key."""
    return sorted(entries, key=lambda one: hashlib.sha256(f"{seed}/{one.key}".encode()).digest())


def fill(lines: Sequence[Queue], are_good: Callable[[list[Entry]], list[bool]]) -> None:
    """Try entries until every queue has what it needs or has come to its end.

    As many are tried at once as are wanted if all are good, so the result does not depend on how
    fast or in which order the tries end.
    """
    tried = [0] * len(lines)
    while True:
        block = []
        for number, line in enumerate(lines):
            wanted = len(line.entries) if line.need is None else line.lack
            block += [(line, one) for one in line.entries[tried[number] :][:wanted]]
            tried[number] += wanted
        if not block:
            return
        for (line, entry), good in zip(block, are_good([one for _, one in block]), strict=True):
            if good:
                line.good.append(entry)


def samples_of(entry: Entry, protocol: Protocol) -> list[tuple[str, Words]]:
    """Key and words of each sample: one drawn caption, or every caption with a key of its own."""
    if len(entry.words) == 1 or protocol.captions == "one":
        draw = generator(protocol.seed, 0, f"caption/{entry.key}")
        return [(entry.key, entry.words[int(draw.integers(len(entry.words)))])]
    return [(f"{entry.key}-{number:02}", words) for number, words in enumerate(entry.words)]
