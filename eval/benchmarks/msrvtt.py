"""MSR-VTT as it is distributed: JSON files of videos and sentences, and videos in several layouts.

The official files are train_val_videodatainfo.json and test_videodatainfo.json; MSRVTT_data.json
holds both. The test of 1,000 pairs (1k-A) is a CSV: key,vid_key,video_id,sentence. The videos are
`video0.mp4` to `video9999.mp4` in TrainValVideo/ and TestVideo/, in videos/all/, or in the root.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from eval.benchmarks.catalogue import (
    NONE,
    Catalogue,
    Count,
    Entry,
    Words,
    as_prompt,
    clean,
    existing_folder,
    expected,
    files_below,
    in_natural_order,
    read_table,
)

OFFICIAL = ("train_val_videodatainfo.json", "test_videodatainfo.json")
MERGED = "MSRVTT_data.json"
PAIRS = "MSRVTT_JSFUSION_test.csv"
PAIR_COLUMNS = ("key", "vid_key", "video_id", "sentence")
LAYOUTS = ("TrainValVideo", "TestVideo", "videos/all", ".")
SPLITS = ("train", "val", "test")
SPELLINGS = {"validate": "val", "validation": "val"}
VIDEO_ID = re.compile(r"video\d+")


@dataclass
class _Video:
    """A video as the JSON files tell of it."""

    split: str
    category: str = NONE
    url: str = ""
    captions: list[str] = field(default_factory=list)


def read(settings: Mapping[str, Any]) -> Catalogue:
    """The chosen split of MSR-VTT.

    `settings`: conf/benchmark/msrvtt.yaml.

    Raises:
        InputError: a setting, a folder, a JSON file or a CSV that cannot be used.
    """
    split = settings["split"]
    if split not in (*SPLITS, "1k-A"):
        raise InputError(f"benchmark.split={split}; choose {', '.join(SPLITS)} or 1k-A")
    root = existing_folder(settings["root"], "benchmark.root")
    place = existing_folder(settings["annotations"] or settings["root"], "benchmark.annotations")
    annotated = _annotated(_json_files(place, needed=split != "1k-A"))
    pairs = _pairs(_table(place, settings["pairs"])) if split == "1k-A" else {}
    captions = pairs or {
        name: video.captions for name, video in annotated.videos.items() if video.split == split
    }
    files, findings = _files(root, set(annotated.videos) | set(pairs))
    spoken = {name: [text for text in texts if text.strip()] for name, texts in captions.items()}
    wanted = in_natural_order(captions)
    findings |= {
        "missing": [name for name in wanted if name not in files],
        "missing_elsewhere": in_natural_order(
            name for name in annotated.videos if name not in files and name not in captions
        ),
        "without_caption": [name for name in wanted if not spoken[name]],
        "captions_without_video": in_natural_order(annotated.strange),
        "shared_source": _shared_sources(annotated.videos, set(wanted)),
    }
    entries = [
        Entry(
            name,
            files[name],
            tuple(Words(text, as_prompt(text)) for text in sorted(spoken[name])),
            annotated.videos[name].category if name in annotated.videos else NONE,
        )
        for name in wanted
        if name in files and spoken[name]
    ]
    counts = _counts(settings, annotated.videos, captions, len(pairs))
    found = sum(name in files for name in wanted)
    counts.append(Count("files of the chosen split", found, len(wanted)))
    return Catalogue(root, entries, counts, findings, _shares(annotated.videos))


@dataclass
class _Annotated:
    """What JSON files tell: videos by id, and the ids of captions that belong to none of them."""

    videos: dict[str, _Video]
    strange: set[str]


def _json_files(place: Path, needed: bool) -> list[Path]:
    """The official files, or the merged one where they are not both there."""
    official = [path for name in OFFICIAL if (path := _below(place, name))]
    merged = _below(place, MERGED)
    found = [merged] if merged and len(official) < len(OFFICIAL) else official
    if needed and not found:
        raise InputError(
            f"{place} holds none of {', '.join((*OFFICIAL, MERGED))}, also not a folder further "
            "down; name their folder with benchmark.annotations=FOLDER"
        )
    return found


def _below(place: Path, name: str) -> Path | None:
    """The file of this name in a folder or one level below it."""
    candidates = [place / name, *(one / name for one in sorted(place.iterdir()) if one.is_dir())]
    return next((path for path in candidates if path.is_file()), None)


def _annotated(paths: Sequence[Path]) -> _Annotated:
    videos: dict[str, _Video] = {}
    strange: set[str] = set()
    for path in paths:
        document = read_json(path)
        try:
            for one in document["videos"]:
                name = str(one["video_id"])
                url, category = str(one.get("url", "")), str(one.get("category", NONE))
                videos[name] = _Video(_split(one, path), category, url)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: a video of MSR-VTT has no {error}") from None
        try:
            for one in document["sentences"]:
                name = str(one["video_id"])
                if name in videos:
                    videos[name].captions.append(clean(str(one["caption"])))
                else:
                    strange.add(name)
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: a sentence of MSR-VTT has no {error}") from None
    if unnamed := [name for name in videos if not VIDEO_ID.fullmatch(name)]:
        raise InputError(f"{paths[0]}: {unnamed[0]!r} is no id of MSR-VTT, such as video7010")
    return _Annotated(videos, strange)


def _split(video: Mapping[str, Any], path: Path) -> str:
    if path.name == OFFICIAL[1] and "split" not in video:
        return "test"
    split = str(video["split"])
    return SPELLINGS.get(split, split)


def _table(place: Path, given: str | None) -> Path:
    path = Path(given) if given else _below(place, PAIRS)
    if path is None:
        raise InputError(f"{place} holds no {PAIRS}; name the CSV with benchmark.pairs=FILE")
    return path


def _pairs(path: Path) -> dict[str, list[str]]:
    """The caption of each video of a CSV of pairs."""
    captions: dict[str, list[str]] = {}
    for row in read_table(path, PAIR_COLUMNS):
        name = row["video_id"].strip()
        if not VIDEO_ID.fullmatch(name) or name in captions:
            raise InputError(f"{path}: {name!r} is no id of MSR-VTT, or stands there twice")
        captions[name] = [row["sentence"]]
    return captions


def _files(root: Path, known: set[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Where the videos lie, by id, and what else lies there."""
    found = defaultdict(list)
    extra = []
    for layout in LAYOUTS:
        folder = root / layout
        if not folder.is_dir():
            continue
        names = files_below(folder) if layout != "." else _files_in(folder)
        for name in names:
            relative = (Path(layout) / name).as_posix()
            if VIDEO_ID.fullmatch(Path(name).stem) and name.lower().endswith(".mp4"):
                found[Path(name).stem].append(relative)
            elif layout != ".":
                extra.append(relative)
    files = {name: paths[0] for name, paths in found.items()}
    return files, {
        "twice_on_disk": [" = ".join(paths) for paths in found.values() if len(paths) > 1],
        "unlisted": [files[name] for name in in_natural_order(set(files) - known)],
        "extra": extra,
    }


def _files_in(folder: Path) -> list[str]:
    return [path.name for path in sorted(folder.iterdir()) if path.is_file()]


def _shared_sources(videos: Mapping[str, _Video], wanted: set[str]) -> list[str]:
    """The urls of which clips lie in a wanted video's split and in another one."""
    by_url = defaultdict(list)
    for name in in_natural_order(videos):
        if videos[name].url:
            by_url[videos[name].url].append(name)
    return [
        clean(f"{url}: {', '.join(f'{name} ({videos[name].split})' for name in names)}")
        for url, names in by_url.items()
        if wanted & set(names) and len({videos[name].split for name in names}) > 1
    ]


def _counts(
    settings: Mapping[str, Any],
    videos: Mapping[str, _Video],
    captions: Mapping[str, Sequence[str]],
    pairs: int,
) -> list[Count]:
    if pairs:
        return [Count("pairs of 1k-A", pairs, expected(settings, "1k-A"))]
    sizes = {name: sum(one.split == name for one in videos.values()) for name in SPLITS}
    each = expected(settings, "captions")
    wrong = [name for name, texts in captions.items() if each and len(texts) != each]
    spoken = sum(map(len, captions.values()))
    said = [text for texts in captions.values() for text in set(texts)]
    return [
        *(
            Count(f"videos of {name}", size, expected(settings, name), name == settings["split"])
            for name, size in sizes.items()
        ),
        Count("videos", len(videos), expected(settings, "videos"), required=False),
        Count("captions of the chosen split", spoken, each and each * len(captions)),
        Count("videos of the chosen split with another number of captions", len(wrong), 0),
        Count("captions that a video has more than once", spoken - len(said)),
    ]


def _shares(videos: Mapping[str, _Video]) -> dict[str, int]:
    """The sizes of categories in the training split."""
    shares: dict[str, int] = defaultdict(int)
    for video in videos.values():
        if video.split == "train":
            shares[video.category] += 1
    return dict(sorted(shares.items(), key=lambda one: _category_order(one[0])))


def _category_order(category: str) -> tuple[int, str]:
    """Categories are numbers, as text; others come after them."""
    return (int(category), "") if category.isdecimal() else (10**6, category)
