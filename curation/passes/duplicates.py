"""Which clips repeat others, over a corpus that does not fit into memory.

Both searches depend on the clips alone, never on their order: of clips that repeat each other the
one with the smallest priority, a hash of its key, stays.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from curation.passes.external import Records

HASHES = 3
BITS = 64

IDENTITIES = np.dtype([("identity", np.uint64), ("priority", np.uint64), ("row", np.int64)])
"""A clip as it is known: hash of its source video and times, of its content, its row."""

PICTURES = np.dtype([("priority", np.uint64), ("hashes", np.uint64, HASHES), ("row", np.int64)])
"""A clip as it looks: hash of its key, perceptual hashes, its row."""

_EXACT = np.dtype([("look", np.uint64), ("rank", np.uint64)])
_PAIRS = np.dtype([("later", np.uint64), ("earlier", np.uint64)])

BLOCK = 512  # clips that are compared with each other at once
TOGETHER = 250_000  # clips whose bands are looked at together; 10 MB


def repeated_identities(records: Records) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of clips with equal identity, all but the first by priority.

    Args:
        records: of IDENTITIES.

    Yields:
        (rows that repeat, row of the one that stays), int64 [n] each.
    """
    for block in records.sorted_blocks("identity", "priority", "row"):
        first = np.r_[True, block["identity"][1:] != block["identity"][:-1]]
        winner = block["row"][np.maximum.accumulate(np.where(first, np.arange(len(block)), 0))]
        yield block["row"][~first], winner[~first]


def near_copies(
    records: Records, distance: int, folder: Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clips that differ in at most `distance` bits in each of their hashes from one that stays.

    In the order of their priorities, a clip stays if no clip that stays is so near. Two near copies
    agree in at least one of `distance + 1` bands of bits of their first hash and, as well, of their
    second; only clips that agree in such a pair of bands are compared.

    Args:
        records: of PICTURES.
        distance: in bits of 64, below 63.
        folder: for temporary files.

    Yields:
        As `repeated_identities`, one block.
    """
    ranked = Records(folder / "ranked.bin", PICTURES)
    for block in records.sorted_blocks("priority", "row"):
        ranked.append(block)
    pictures = ranked.array()
    count = len(pictures)
    winner = np.full(count, -1, np.int64)  # rank of the clip that a clip repeats, or -1
    for later, earlier in _equal_looks(pictures, folder):
        winner[later] = earlier
    pairs = Records(folder / "pairs.bin", _PAIRS)
    for later, earlier in _near_pairs(pictures, winner, distance):
        found = np.empty(len(later), _PAIRS)
        found["later"], found["earlier"] = later, earlier
        pairs.append(found)
    for block in pairs.sorted_blocks("later", "earlier"):
        for late, early in zip(block["later"].tolist(), block["earlier"].tolist(), strict=True):
            if winner[late] < 0 and winner[early] < 0:
                winner[late] = early
    repeats = np.flatnonzero(winner >= 0)
    stays = winner[repeats]
    while (behind := winner[stays] >= 0).any():  # an equal look whose first one repeats another
        stays[behind] = winner[stays[behind]]
    rows = pictures["row"]
    yield rows[repeats], rows[stays]
    del pictures, rows
    pairs.close()
    ranked.close()


def _equal_looks(pictures: np.ndarray, folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(later, earliest) ranks of clips with the very same hashes."""
    looks = Records(folder / "looks.bin", _EXACT)
    for start in range(0, len(pictures), TOGETHER):
        hashes = np.array(pictures["hashes"][start : start + TOGETHER])
        found = np.empty(len(hashes), _EXACT)
        found["look"] = _mix(hashes)
        found["rank"] = np.arange(start, start + len(hashes))
        looks.append(found)
    for block in looks.sorted_blocks("look", "rank"):
        rank = block["rank"].astype(np.int64)
        first = np.r_[True, block["look"][1:] != block["look"][:-1]]
        earliest = rank[np.maximum.accumulate(np.where(first, np.arange(len(block)), 0))]
        same = ~first & (pictures["hashes"][rank] == pictures["hashes"][earliest]).all(axis=1)
        yield rank[same], earliest[same]
    looks.close()


def _mix(hashes: np.ndarray) -> np.ndarray:
    """One uint64 for three, spread evenly."""
    mixed = np.zeros(len(hashes), np.uint64)
    for column in hashes.T:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _near_pairs(
    pictures: np.ndarray, winner: np.ndarray, distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(later, earlier) ranks of pairs that are near; a pair may come more than once."""
    bands = _bands(distance + 1)
    for low, high in bands:
        parts = max(1, -(-len(pictures) // TOGETHER))
        for part in range(parts):
            ranks = _ranks_in_part(pictures, winner, (low, high), part, parts)
            hashes = np.array(pictures["hashes"][ranks])
            first = _bits(hashes[:, 0], low, high)
            for low_2, high_2 in bands:
                code = first << np.uint64(high_2 - low_2) | _bits(hashes[:, 1], low_2, high_2)
                order = np.argsort(code, kind="stable")
                borders = np.flatnonzero(np.diff(code[order])) + 1
                starts, stops = np.r_[0, borders], np.r_[borders, len(order)]
                for i in np.flatnonzero(stops - starts > 1):
                    group = order[starts[i] : stops[i]]
                    yield from _compare(hashes[group], ranks[group], distance)


def _ranks_in_part(
    pictures: np.ndarray, winner: np.ndarray, band: tuple[int, int], part: int, parts: int
) -> np.ndarray:
    """Ranks of the clips with a look of their own whose band of the first hash falls to `part`."""
    found = []
    for start in range(0, len(pictures), TOGETHER):
        stop = min(start + TOGETHER, len(pictures))
        value = _bits(np.array(pictures["hashes"][start:stop, 0]), *band)
        chosen = (value % np.uint64(parts) == part) & (winner[start:stop] < 0)
        found.append(np.flatnonzero(chosen) + start)
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _compare(
    hashes: np.ndarray, ranks: np.ndarray, distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs within a group, block by block; ranks ascend."""
    for a, b in itertools.combinations_with_replacement(range(0, len(ranks), BLOCK), 2):
        left, right = hashes[a : a + BLOCK], hashes[b : b + BLOCK]
        differing = np.bitwise_count(left[:, None] ^ right[None]).max(axis=-1)  # [l, r]
        i, j = np.nonzero(differing <= distance)
        i, j = i + a, j + b
        later = i < j
        if later.any():
            yield ranks[j[later]], ranks[i[later]]


def _bands(count: int) -> list[tuple[int, int]]:
    edges = [BITS * i // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def _bits(values: np.ndarray, low: int, high: int) -> np.ndarray:
    mask = np.uint64((1 << (high - low)) - 1)
    return values >> np.uint64(low) & mask
