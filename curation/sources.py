"""Where clips come from: a source of the configuration becomes a list of `Clip` rows.

    kind: folder       every file below `path` that matches `pattern`
    kind: webvid_csv   a WebVid table (or one of its successors through `columns`) and its folder
    kind: assets       sample clips by name, see `dynamicrafter assets`

No file is opened here: one that is missing or broken becomes a row with a reason later on.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynamicrafter.errors import InputError
from dynamicrafter.files import inside
from dynamicrafter.shards import sample_key

UNKNOWN = "none"
"""What stands in a DCP column that nobody knows; an empty cell would make loaders drop the row."""


@dataclass(frozen=True)
class Clip:
    """A video, or the part [start_s, end_s) of one, as a source lists it."""

    clip_id: str  # stable free text
    path: Path
    caption: str  # the stock caption, or `none`
    source: str  # name of the source
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end
    extra: dict[str, str] = field(default_factory=dict)  # page_dir, contentUrl, licence, …


def read_clips(source: dict[str, Any]) -> list[Clip]:
    """The clips of a source in a stable order.

    Raises:
        InputError: the source is unknown, empty or malformed, two clips share a key, or a file
            name is not UTF-8.
    """
    readers = {"folder": _folder, "webvid_csv": _webvid_csv, "assets": _assets}
    if (kind := source["kind"]) not in readers:
        raise InputError(f"source.kind is {kind!r}; the kinds are {', '.join(readers)}")
    clips = readers[kind](source)
    if not clips:
        raise InputError(f"source {source['name']!r} holds no clip")
    ids: dict[str, str] = {}
    for clip in clips:
        key = sample_key(clip.clip_id)
        if key in ids:
            raise InputError(f"clips {ids[key]!r} and {clip.clip_id!r} have the same key {key!r}")
        ids[key] = clip.clip_id
    return clips


def _folder(source: dict[str, Any]) -> list[Clip]:
    root = Path(source["path"])
    if not root.is_dir():
        raise InputError(f"source.path {root} is no folder")
    return [
        Clip(str(path.relative_to(root)), path, UNKNOWN, source["name"])
        for path in sorted(root.rglob(source["pattern"]))
        if path.is_file()
    ]


def _assets(source: dict[str, Any]) -> list[Clip]:
    from dynamicrafter import assets

    manifest = assets.load_manifest()
    clips = []
    for name in source["assets"]:
        path = assets.path(name)  # refuses a name that is not in the manifest
        asset = manifest[name]
        extra = {"licence": asset.source.licence, "attribution": asset.source.attribution}
        clips.append(Clip(name, path, asset.title, source["name"], extra=extra))
    return clips


def _webvid_csv(source: dict[str, Any]) -> list[Clip]:
    table, root, columns = Path(source["csv"]), Path(source["data_dir"]), source["columns"]
    if not table.is_file():
        raise InputError(f"source.csv {table} is no file")
    clips: dict[str, Clip] = {}
    for cells in _rows(table, columns):
        place = f"{cells['page_dir']}/{cells['videoid']}.mp4"
        clip = Clip(
            clip_id=f"{cells['page_dir']}_{cells['videoid']}",
            path=inside(root / "videos", place),
            caption=cells["name"] or UNKNOWN,
            source=source["name"],
            extra={name: cells[name] for name in ("page_dir", "contentUrl") if cells.get(name)},
        )
        clips.setdefault(clip.clip_id, clip)  # WebVid repeats some videos with other captions
    return list(clips.values())


def _rows(table: Path, columns: dict[str, str]) -> Iterator[dict[str, str]]:
    """The cells of each row under our names."""
    try:
        with open(table, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            absent = set(columns.values()) - set(rows.fieldnames or ())
            if absent:
                raise InputError(
                    f"{table} lacks the columns {', '.join(sorted(absent))}; it has "
                    f"{', '.join(rows.fieldnames or ())}: adapt source.columns"
                )
            for row in rows:
                yield {ours: (row[theirs] or "").strip() for ours, theirs in columns.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} is no CSV in UTF-8: {error}") from None
