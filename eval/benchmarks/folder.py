"""Any folder of videos, with one prompt for all of them or a table of prompts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    in_natural_order,
    read_table,
    unique_keys,
)
from eval.methods import SUFFIXES


def read(settings: Mapping[str, Any]) -> Catalogue:
    """All videos in a folder and below it.

    `settings`: conf/benchmark/folder.yaml.

    Raises:
        InputError: no such folder, no video in it, no prompts.
    """
    root = existing_folder(settings["root"], "benchmark.root")
    if settings["prompt"] is None and settings["prompts"] is None:
        raise InputError(
            "videos of a folder need prompts: pass benchmark.prompt='what moves and how', or "
            "benchmark.prompts=FILE.csv with the columns video and prompt"
        )
    every = files_below(root)
    videos = in_natural_order(file for file in every if Path(file).suffix.lower() in SUFFIXES)
    if not videos:
        raise InputError(f"benchmark.root={root} holds no video ({', '.join(SUFFIXES)})")
    keys = unique_keys({file: Path(file).stem for file in videos})
    prompts, strange = _prompts(settings["prompts"], videos)
    entries, without = [], []
    for file in videos:
        prompt = as_prompt(prompts.get(file) or settings["prompt"] or "")
        if prompt:
            entries.append(Entry(keys[file], file, (Words(NONE, prompt),)))
        else:
            without.append(file)
    return Catalogue(
        root,
        entries,
        [Count("videos", len(videos), expected(settings, "videos"))],
        {
            "without_caption": without,
            "captions_without_video": strange,
            "extra": [file for file in every if Path(file).suffix.lower() not in SUFFIXES],
        },
    )


def _prompts(path: str | None, videos: list[str]) -> tuple[dict[str, str], list[str]]:
    """Prompts by video, and what a table names that is none.

    A video is named by its path in the folder, or by its file name where only one has it.
    """
    if path is None:
        return {}, []
    by_name: dict[str, list[str]] = {}
    for file in videos:
        by_name.setdefault(Path(file).name, []).append(file)
    prompts, strange = {}, []
    for row in read_table(Path(path), ("video", "prompt")):
        name = row["video"].strip()
        named = [name] if name in set(videos) else by_name.get(name, [])
        if len(named) > 1:
            raise InputError(f"{path}: {name} may be {named[0]} or {named[1]}; give its path")
        if named:
            prompts[named[0]] = row["prompt"]
        else:
            strange.append(name)
    return prompts, strange
