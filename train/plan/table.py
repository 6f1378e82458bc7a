"""A plan as lines for a terminal."""

from collections.abc import Iterator
from typing import Any

from dynamicrafter.text_table import table_lines


def lines_of(plan: dict[str, Any]) -> list[str]:
    """The plan, stage by stage and then card by card."""
    lines = []
    for stage in plan["stages"]:
        lines += _stage_lines(stage)
    lines += _card_lines(plan)
    lines.append(
        f"clips/s are rough: they assume {100 * plan['mfu']:.0f} % of a card's dense bf16 peak "
        "over all the FLOP above, loaders that keep up, and that a few clips at once are slower, "
        "since then the GPU waits for Python. Memory is what PyTorch allocates, 5 % for gaps "
        "between its blocks and 0.6 GiB for CUDA itself."
    )
    return lines


def _stage_lines(stage: dict[str, Any]) -> Iterator[str]:
    height, width = stage["resolution"]
    yield (
        f"stage {stage['name']}: {stage['steps']} steps of {stage['batch']} clips, "
        f"{stage['frames']} frames of {height}x{width}"
    )
    for source, words in stage["sources"].items():
        yield f"  starts from {source}: {words}"
    rows = [("group", "tensors", "parameters", "", "new")]
    for name, group in sorted(stage["groups"].items(), key=_trained_first):
        state = "trained" if group["trained"] else "frozen"
        rows.append(
            (name, f"{group['tensors']}", _millions(group), state, f"{group['new'] or '-'}")
        )
    for word in ("trained", "frozen"):
        chosen = [g for g in stage["groups"].values() if g["trained"] == (word == "trained")]
        total = {key: sum(g[key] for g in chosen) for key in ("tensors", "parameters", "new")}
        rows.append(
            (f"all {word}", f"{total['tensors']}", _millions(total), "", f"{total['new'] or '-'}")
        )
    yield from table_lines(rows, "lrrlr")
    rows = [("counted for one clip", "TFLOP")]
    rows += [(name, _tera(flop)) for name, flop in stage["flop"].items()]
    rows.append(("sum", _tera(sum(stage["flop"].values()))))
    yield from table_lines(rows, "lr")
    given = stage["as_given"]
    fullest = max(given["phases_gib"], key=given["phases_gib"].get)
    yield (
        f"  as given (microbatch={given['microbatch']} recompute={given['recompute']} "
        f"offload={str(given['offload']).lower()}) it needs {given['needed_gib']} GiB; "
        f"its fullest phase is {fullest!r} with {given['peak_gib']} GiB allocated"
    )


def _card_lines(plan: dict[str, Any]) -> Iterator[str]:
    gpus = f" x {plan['gpus']}" if plan["gpus"] > 1 else ""
    for card in plan["cards"]:
        yield (
            f"{card['gigabytes']} GB{gpus} (such as {card['like']}, {card['tflops']:g} TFLOP/s; "
            f"{card['usable_gib']} GiB usable), {plan['precision']}:"
        )
        rows = [("stage", "microbatch", "recompute", "GiB", "clips/s", "hours")]
        for name, found in card["stages"].items():
            if found["fits"]:
                rows.append(
                    (
                        name,
                        f"{found['microbatch']}",
                        found["recompute"],
                        f"{found['needed_gib']:.1f}",
                        f"{found['clips_per_s']:.3g}",
                        f"{found['hours']:.0f}",
                    )
                )
        if len(rows) > 1:
            yield from table_lines(rows, "lrlrrr")
            yield f"  {card['overrides']}"
        for name, found in card["stages"].items():
            if not found["fits"]:
                yield f"  {name} does not fit: {'; '.join(found['ways'])}"


def _trained_first(item: tuple[str, dict[str, Any]]) -> tuple[bool, int]:
    return not item[1]["trained"], -item[1]["parameters"]


def _millions(group: dict[str, Any]) -> str:
    count = group["parameters"]
    return f"{count}" if count < 10_000 else f"{count / 1e6:.1f} M"


def _tera(flop: int) -> str:
    return f"{flop / 1e12:.4g}"
