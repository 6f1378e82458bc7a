"""Whether a benchmark is whole: damage that shows without a decoder, doubles, and the report."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from omegaconf import DictConfig

from dynamicrafter import files
from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.files import file_digest
from dynamicrafter.media.probe import local_video
from eval.benchmarks.catalogue import Catalogue, Count, Entry, clean
from eval.methods import first_of
from eval.protocols import Protocol

INCOMPLETE = ("missing", "corrupt", "without_caption")
"""Findings that make a set incomplete; the others are told, and change nothing."""

SHOWN = 20  # names of a finding in integrity.md; integrity.json has them all

MEANINGS = {
    "missing": "belong to the chosen part and are not there",
    "missing_elsewhere": "belong to another part of the benchmark and are not there",
    "corrupt": "cannot be read, or end too early",
    "too_short": "have too few frames for a window",
    "wrong_count": "hold another number of frames than they state",
    "without_caption": "have no caption, or no prompt",
    "captions_without_video": "have a caption, and are no videos of the benchmark",
    "unlisted": "lie among the videos and stand in no list",
    "extra": "are no part of the benchmark",
    "twice_on_disk": "lie in several folders; the first of them counts",
    "doubled": "have the same content",
    "in_both_lists": "stand in the training and in the test list",
    "shared_source": "are clips of one source video in different splits",
}


@dataclass
class Report:
    """What is said of a benchmark and of the choice from it; filled as the work goes on.

    Attributes:
        header: what was read and asked for, by name.
        counts: numbers that were checked.
        findings: names by what is the matter, keys of `MEANINGS`.
        dropped: videos that were tried and not taken: video, reason, detail.
        outcome: numbers of the choice.
    """

    header: dict[str, Any]
    counts: list[Count]
    findings: dict[str, list[str]]
    dropped: list[dict[str, str]] = field(default_factory=list)
    outcome: dict[str, Any] = field(default_factory=dict)

    @property
    def lacks(self) -> list[str]:
        """What makes the set incomplete, in words."""
        wrong = [
            f"{one.what}: {one.found} of {one.expected}"
            for one in self.counts
            if one.required and not one.is_right
        ]
        named = [
            f"{len(names)} {kind} ({first_of(names)})"
            for kind in INCOMPLETE
            if (names := self.findings.get(kind))
        ]
        return wrong + named

    def write(self, folder: Path) -> None:
        """Write `integrity.json` and `integrity.md`."""
        findings = {kind: list(map(clean, names)) for kind, names in self.findings.items() if names}
        plain = {
            **self.header,
            "complete": not self.lacks,
            "counts": [asdict(one) | {"is_right": one.is_right} for one in self.counts],
            "findings": findings,
            "dropped": self.dropped,
            "outcome": self.outcome,
        }
        files.write_json(folder / "integrity.json", plain)
        files.write_text(folder / "integrity.md", "\n".join(self._lines(findings)) + "\n")

    def refuse_incomplete(self, folder: Path) -> None:
        """Write the report; end with it unless the set is whole or may be incomplete.

        Raises:
            InputError: it is incomplete.
        """
        self.write(folder)
        if self.lacks and not self.header["allow_incomplete"]:
            raise InputError(
                f"benchmark {self.header['benchmark']} in {self.header['root']} is incomplete: "
                f"{'; '.join(self.lacks)}; all names are in {folder / 'integrity.md'}; complete "
                "it, or pass allow_incomplete=true, which the selection will say"
            )

    def _lines(self, findings: dict[str, list[str]]) -> list[str]:
        lines = [f"# {self.header['benchmark']}: {'incomplete' if self.lacks else 'whole'}", ""]
        lines += [f"- {name}: {_code(str(value))}" for name, value in self.header.items()]
        lines += [f"- {name}: {value}" for name, value in self.outcome.items()]
        lines += ["", "| count | expected | found |", "|---|---|---|"]
        for one in self.counts:
            mark = "" if one.is_right else " **differs**"
            known = "-" if one.expected is None else one.expected
            lines.append(f"| {one.what} | {known} | {one.found}{mark} |")
        for kind, names in findings.items():
            lines += ["", f"## {kind}: {len(names)}", "", f"They {MEANINGS[kind]}.", ""]
            lines += [f"- {_code(name)}" for name in names[:SHOWN]]
            if len(names) > SHOWN:
                lines.append(f"- and {len(names) - SHOWN} more, see integrity.json")
        if self.dropped:
            lines += ["", f"## dropped: {len(self.dropped)}", ""]
            lines += [f"- {_code(one['video'])}: {one['reason']}" for one in self.dropped[:SHOWN]]
        return lines


def header(config: DictConfig, chosen: Protocol, root: Path) -> dict[str, Any]:
    """What a report says first. `config`: conf/eval_select.yaml."""
    return {
        "benchmark": config.benchmark.name,
        "root": str(root),
        "protocol": chosen.name,
        "protocol_digest": chosen.digest,
        "selection": config.selection,
        "short": config.short,
        "allow_incomplete": config.allow_incomplete,
    }


def without_damaged(catalogue: Catalogue) -> tuple[list[Entry], list[str]]:
    """The entries whose files show no damage, and the names of the others with the reason."""
    whole, damaged = [], []
    for entry in catalogue.entries:
        try:
            check_ends(catalogue.root / entry.file)
        except MediaError as error:
            damaged.append(f"{entry.file}: {error.reason}")
        else:
            whole.append(entry)
    return whole, damaged


def check_ends(path: Path) -> None:
    """See from its container whether a video is there to its end; nothing is decoded.

    Raises:
        MediaError: `missing` or `not_video`; `truncated`, where the sizes that an AVI or mp4 states
            go beyond the file, or an mp4 has no index.
    """
    _, container = local_video(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        if container == "avi":
            _check_avi(file, size, path)
        elif container == "mp4":
            _check_mp4(file, size, path)


def doubled(root: Path, entries: Sequence[Entry]) -> list[str]:
    """Groups of files with the same content, each as a text of their names."""
    by_size = defaultdict(list)
    for entry in entries:
        by_size[(root / entry.file).stat().st_size].append(entry.file)
    by_content = defaultdict(list)
    for alike in by_size.values():
        for file in alike if len(alike) > 1 else []:
            by_content[file_digest(root / file)].append(file)
    return [" = ".join(same) for same in by_content.values() if len(same) > 1]


def _check_avi(file: BinaryIO, size: int, path: Path) -> None:
    stated = int.from_bytes(file.read(8)[4:], "little") + 8
    if stated > size:
        raise MediaError("truncated", f"{path} has {size} of {stated} bytes")


def _check_mp4(file: BinaryIO, size: int, path: Path) -> None:
    place, kinds = 0, set()
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # the length follows in 64 bits
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:  # to the end of the file
            length = size - place
        kinds.add(head[4:8])
        if length < 8 or place + length > size:
            raise MediaError("truncated", f"{path} ends within a part of {length} bytes")
        place += length
    if b"moov" not in kinds:
        raise MediaError("truncated", f"{path} has no index")


def _code(text: str) -> str:
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
