"""Where clips come from: a source of the configuration as a stream of `Clip` rows.

    kind: table          CSV, TSV, JSON or Parquet and a folder of videos, by a column map
    kind: skycaptioner   the same with structural captions, which become motion captions
    kind: tars           WebDataset tars, as video2dataset writes them
    kind: folder         every video below a folder
    kind: assets         sample clips by name, see `dynamicrafter assets`

No video is opened here, and no row raises: one that is broken is a `Clip` with a reason. Rows of
one id may come more than once; whoever collects them decides, since a stream remembers nothing.
"""

import hashlib
import os
from collections.abc import Iterator
from itertools import chain
from typing import Any

from curation.clip import UNKNOWN, Clip
from curation.sources.columns import read_tables
from curation.sources.folder import file_setting, folder_digest, read_folder, setting
from curation.sources.skycaptioner import read_skycaptioner
from curation.sources.tars import read_tars, tars_digest
from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_file, sha256_json

__all__ = ["UNKNOWN", "Clip", "read_clips", "source_digest"]


def read_clips(source: dict[str, Any]) -> Iterator[Clip]:
    """The rows of a source in a stable order, one at a time.

    Raises:
        InputError: the source as a whole cannot be used: it is unknown, absent, empty or not what
            its settings say. Most of it shows at once, damage further in when it is reached.
    """
    clips = _kind(source)[0](source)
    first = next(clips, None)
    if first is None:
        raise InputError(f"source {source['name']!r} holds no clip")
    return chain((first,), clips)


def source_digest(source: dict[str, Any]) -> str:
    """Digest of what the rows depend on besides the settings.

    That is the content of tables; of folders and tars the names, sizes and times of change.

    Raises:
        InputError: the source as a whole cannot be used.
    """
    return _kind(source)[1](source)


def _kind(source: dict[str, Any]) -> tuple[Any, Any]:
    kinds = {
        "table": (read_tables, _tables_digest),
        "skycaptioner": (read_skycaptioner, _tables_digest),
        "tars": (read_tars, tars_digest),
        "folder": (read_folder, folder_digest),
        "assets": (_read_assets, _assets_digest),
    }
    if (kind := setting(source, "kind")) not in kinds:
        raise InputError(f"source.kind is {kind!r}; the kinds are {', '.join(kinds)}")
    return kinds[kind]


def _tables_digest(source: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for path in file_setting(source, "csv" if "csv" in source else "table"):
        if not path.is_file():
            raise InputError(f"{path} is no file")
        digest.update(os.fsencode(path.name) + b"\0" + sha256_file(path).encode() + b"\0")
    return digest.hexdigest()


def _read_assets(source: dict[str, Any]) -> Iterator[Clip]:
    from dynamicrafter import assets

    manifest = assets.load_manifest()
    for name in setting(source, "assets"):
        path = assets.path(name)  # refuses a name that is not in the manifest
        asset = manifest[name]
        yield Clip(
            clip_id=name,
            source=source["name"],
            root=str(path.parent),
            path=path.name,
            caption=asset.title,
            extra={"licence": asset.source.licence, "attribution": asset.source.attribution},
        )


def _assets_digest(source: dict[str, Any]) -> str:
    from dynamicrafter import assets

    manifest = assets.load_manifest()
    names = [name for name in setting(source, "assets") if assets.path(name)]
    return sha256_json({name: manifest[name].sha256 for name in names})
