"""UCF-101 as it is distributed: `<root>/[UCF-101/]<Class>/*.avi` and the lists of its splits.

The lists are classInd.txt (`1 ApplyEyeMakeup`, the official order, which is no sorting) and, of
each split, trainlist0N.txt (`Class/file.avi label`) and testlist0N.txt (`Class/file.avi`); their
lines end with CR LF. The class is the folder's: the files of HandstandPushups spell it otherwise.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from dynamicrafter.errors import InputError
from eval.benchmarks.catalogue import (
    NONE,
    Catalogue,
    Count,
    Entry,
    Words,
    as_prompt,
    existing_folder,
    expected,
    files_below,
    read_table,
    unique_keys,
)
from eval.methods import first_of

SPLITS = (1, 2, 3)
PARTS = ("test", "train")
OWN = "ucf101_prompts.csv"


def read(settings: Mapping[str, Any]) -> Catalogue:
    """The chosen part of UCF-101.

    `settings`: conf/benchmark/ucf101.yaml.

    Raises:
        InputError: a setting, a folder or a list that cannot be used; a class without a prompt.
    """
    splits, parts = _chosen(settings)
    root = existing_folder(settings["root"], "benchmark.root")
    lists = _lists_folder(settings["lists"], root)
    classes = _classes(lists / "classInd.txt")
    prompts = class_prompts(settings["prompts"], classes)
    listed = {
        (split, part): _list(lists / f"{part}list0{split}.txt", classes)
        for split in SPLITS
        for part in PARTS
        if (lists / f"{part}list0{split}.txt").is_file() or (split in splits and part in parts)
    }
    videos = root / "UCF-101" if (root / "UCF-101").is_dir() else root
    on_disk = _on_disk(videos, classes)
    spelled = {file.casefold(): file for file in on_disk} | {file: file for file in on_disk}
    wanted = list(dict.fromkeys(
        name for split in splits for part in parts for name in listed[split, part]
    ))  # fmt: skip
    every = set().union(*listed.values())
    found = {name: spelled.get(name) or spelled.get(name.casefold()) for name in every}
    place = {name: number for number, name in enumerate(classes)}
    present = sorted(
        (name for name in wanted if found[name]), key=lambda name: (place[_class(name)], name)
    )
    keys = unique_keys({name: Path(name).stem.lower() for name in present})
    prefix = videos.relative_to(root).as_posix()
    entries = [
        Entry(
            keys[name],
            (Path(prefix) / str(found[name])).as_posix(),
            (Words(NONE, prompts[_class(name)]),),
            _class(name),
        )
        for name in present
    ]
    return Catalogue(
        root,
        entries,
        _counts(settings, classes, listed, wanted, found),
        _findings(videos, on_disk, classes, listed, wanted, found),
        _shares(classes, listed, splits),
    )


def class_prompts(choice: str, classes: Sequence[str]) -> dict[str, str]:
    """A prompt for each class: `own`, `classname`, or of a CSV (class, prompt) or YAML file.

    Raises:
        InputError: the file cannot be used, or lacks classes, which are named.
    """
    if choice == "classname":
        return {name: class_words(name) for name in classes}
    path = Path(str(resources.files("eval.benchmarks") / OWN)) if choice == "own" else Path(choice)
    known = {name.casefold(): as_prompt(prompt) for name, prompt in _class_table(path)}
    if missing := [name for name in classes if not known.get(name.casefold())]:
        raise InputError(
            f"{path} has no prompt for {len(missing)} of {len(classes)} classes: "
            f"{first_of(missing)}; add them, or pass benchmark.prompts=classname"
        )
    return {name: known[name.casefold()] for name in classes}


def class_words(name: str) -> str:
    """The words of a class name: `ApplyEyeMakeup` is `apply eye makeup`."""
    return " ".join(re.findall(r"[A-Z]?[^A-Z]+|[A-Z]", name)).lower()


def _class_table(path: Path) -> Iterable[tuple[str, str]]:
    if path.suffix.lower() not in (".yaml", ".yml"):
        return [(row["class"], row["prompt"]) for row in read_table(path, ("class", "prompt"))]
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"benchmark.prompts={path} cannot be read: {error}") from None
    if not isinstance(table, dict):
        raise InputError(f"benchmark.prompts={path} is no list of `class: prompt`")
    return [(str(name), str(prompt)) for name, prompt in table.items()]


def _chosen(settings: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    split, part = settings["split"], settings["part"]
    if split not in (*SPLITS, "all"):
        raise InputError(f"benchmark.split={split}; UCF-101 has 1, 2 and 3; or all")
    if part not in (*PARTS, "all"):
        raise InputError(f"benchmark.part={part}; choose test, train or all")
    return (SPLITS if split == "all" else (split,)), (PARTS if part == "all" else (part,))


def _lists_folder(given: str | None, root: Path) -> Path:
    if given is not None:
        return existing_folder(given, "benchmark.lists")
    for folder in (root, root.parent):
        if (folder / "ucfTrainTestlist").is_dir():
            return folder / "ucfTrainTestlist"
    raise InputError(
        f"{root} has no folder ucfTrainTestlist in or beside it; unpack the official "
        "UCF101TrainTestSplits there, or name the folder with benchmark.lists=FOLDER"
    )


def _lines(path: Path) -> list[list[str]]:
    """The fields of the lines that have any."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; it belongs to the official lists") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text: {error}") from None
    return [line.split() for line in text.splitlines() if line.strip()]


def _classes(path: Path) -> list[str]:
    """Class names in the official order."""
    lines = _lines(path)
    if [line[0] for line in lines] != [str(number) for number in range(1, len(lines) + 1)]:
        raise InputError(f"{path}: its lines must be numbered from 1, as in `1 ApplyEyeMakeup`")
    if strange := [line for line in lines if len(line) != 2]:
        raise InputError(f"{path}: {' '.join(strange[0])!r} is no number and class")
    return [line[1] for line in lines]


def _list(path: Path, classes: Sequence[str]) -> list[str]:
    """The videos of a list as `Class/file.avi`."""
    spelling = {name.casefold(): name for name in classes}
    names = []
    for number, line in enumerate(_lines(path), start=1):
        folder, _, file = line[0].partition("/")
        name = spelling.get(folder.casefold())
        if name is None or not file or "/" in file:
            raise InputError(f"{path}, line {number}: {line[0]} is no Class/file of classInd.txt")
        if len(line) > 1 and line[1] != str(classes.index(name) + 1):
            raise InputError(
                f"{path}, line {number}: label {line[1]}, but {name} is class "
                f"{classes.index(name) + 1} of classInd.txt"
            )
        names.append(f"{name}/{file}")
    return names


def _on_disk(videos: Path, classes: Sequence[str]) -> list[str]:
    """All files in class folders, relative to the folder of these."""
    known = {name.casefold() for name in classes}
    folders = [one for one in sorted(videos.iterdir()) if one.name.casefold() in known]
    if not folders:
        raise InputError(
            f"{videos} holds no folder of a class, such as {classes[0]}; benchmark.root is the "
            "folder with UCF-101 in it, or UCF-101 itself"
        )
    return [f"{one.name}/{file}" for one in folders for file in files_below(one)]


def _class(name: str) -> str:
    return name.partition("/")[0]


def _counts(
    settings: Mapping[str, Any],
    classes: Sequence[str],
    listed: Mapping[tuple[int, str], list[str]],
    wanted: Sequence[str],
    found: Mapping[str, str | None],
) -> list[Count]:
    lists = [
        Count(
            f"videos in {part}list0{split}", len(names), expected(settings, f"{part}list0{split}")
        )
        for (split, part), names in listed.items()
    ]
    whole = all((split, part) in listed for split in SPLITS for part in PARTS)
    everything = [Count("videos in all lists", len(found), expected(settings, "videos"))]
    return [
        Count("classes", len(classes), expected(settings, "classes")),
        *lists,
        *(everything if whole else []),
        Count("files of the chosen part", sum(bool(found[name]) for name in wanted), len(wanted)),
        Count("files of all lists", sum(map(bool, found.values())), len(found), required=False),
    ]


def _findings(
    videos: Path,
    on_disk: Sequence[str],
    classes: Sequence[str],
    listed: Mapping[tuple[int, str], list[str]],
    wanted: Sequence[str],
    found: Mapping[str, str | None],
) -> dict[str, list[str]]:
    chosen, known = set(wanted), {name.casefold() for name in classes}
    missing = sorted(name for name, file in found.items() if file is None)
    belonging = {file for file in found.values() if file}
    others = [file for file in on_disk if file not in belonging]
    unlisted = [file for file in others if file.lower().endswith(".avi")]
    strange = [
        one.name
        for one in sorted(videos.iterdir())
        if one.name.casefold() not in known
        and one.name != "ucfTrainTestlist"
        and not one.name.startswith(".")
    ]
    paired = [split for split in SPLITS if all((split, part) in listed for part in PARTS)]
    both = [set(listed[split, "train"]) & set(listed[split, "test"]) for split in paired]
    return {
        "missing": [name for name in missing if name in chosen],
        "missing_elsewhere": [name for name in missing if name not in chosen],
        "unlisted": unlisted if paired else [],
        "extra": strange + [file for file in others if file not in set(unlisted)],
        "in_both_lists": sorted(set().union(*both)),
    }


def _shares(
    classes: Sequence[str], listed: Mapping[tuple[int, str], list[str]], splits: Sequence[int]
) -> dict[str, int]:
    """Class sizes in the training lists of the splits; empty without them."""
    lists = [listed[split, "train"] for split in splits if (split, "train") in listed]
    sizes = Counter(_class(name) for name in set().union(*lists))
    return {name: sizes[name] for name in classes} if sizes else {}
