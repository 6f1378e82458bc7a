"""How well the gate tells pure motion captions from impure ones, on a file of golden pairs.

    python -m tests.curation.purity.measure_gate tests/golden/purity/dev.jsonl

Precision: of those that pass, the share that is pure. Recall: of the pure, the share that passes.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.purity.gate import Gate, Verdict, judge
from dynamicrafter.statistics import Interval, wilson_interval


@dataclass(frozen=True)
class Judged:
    """A golden pair and what the gate says of its wording."""

    pair: dict[str, Any]
    verdict: Verdict

    @property
    def is_miss(self) -> bool:
        """Whether the gate and the label disagree."""
        return self.verdict.passed != self.pair["pure"]


def read(path: Path) -> list[dict[str, Any]]:
    """The pairs of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judged(pairs: Iterable[dict[str, Any]]) -> list[Judged]:
    """The pairs with the verdicts of the gate as it is set by default."""
    return [Judged(pair, judge(pair["wording"], Gate())) for pair in pairs]


def precision(found: list[Judged]) -> Interval | None:
    """Share of the pure among those that pass, with Wilson's interval; None if none passes."""
    return _share([one.pair["pure"] for one in found if one.verdict.passed])


def recall(found: list[Judged]) -> Interval | None:
    """Share of the pure that passes, with Wilson's interval; None if none is pure."""
    return _share([one.verdict.passed for one in found if one.pair["pure"]])


def report(found: list[Judged]) -> str:
    """Precision and recall, of all and by kind, and every miss."""
    kinds = sorted({one.pair["kind"] for one in found})
    lines = [f"{'kind':<12}{'n':>5}{'misses':>8}  {'precision':<24}{'recall':<24}"]
    for kind in ["all", *kinds]:
        some = [one for one in found if kind in ("all", one.pair["kind"])]
        misses = sum(one.is_miss for one in some)
        shares = f"{_text(precision(some)):<24}{_text(recall(some)):<24}"
        lines.append(f"{kind:<12}{len(some):>5}{misses:>8}  {shares}")
    for title, passed in (("Passed, yet impure", True), ("Refused, yet pure", False)):
        some = [one for one in found if one.is_miss and one.verdict.passed == passed]
        lines += ["", f"{title}: {len(some)}"]
        lines += [_line(one) for one in some]
    return "\n".join(lines)


def main() -> None:
    """Print the report on a file."""
    sys.stdout.write(report(judged(read(Path(sys.argv[1])))) + "\n")


def _share(good: list[bool]) -> Interval | None:
    return wilson_interval(sum(good), len(good)) if good else None


def _text(share: Interval | None) -> str:
    return "-" if share is None else f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"


def _line(one: Judged) -> str:
    pair, verdict = one.pair, one.verdict
    why = f"{verdict.reason or 'passed'} {', '.join(verdict.offending)}".strip()
    label = ", ".join(pair["offending"]) or pair["note"]
    return f"  {pair['id']} [{pair['kind']}] {pair['wording']!r}: {why} (label: {label})"


if __name__ == "__main__":
    main()
