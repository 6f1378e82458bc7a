"""The manifest of a shard folder: which shards it has, and what is known without opening them.

A shard's entry says how long and how many its samples are, so that ten million clips can be put in
an order without reading a single index:

    file, bytes, sha256            the tar
    index_bytes, index_sha256      its index
    samples, shortest              how many samples, and the frame count of the shortest
    categories                     category → how many samples

A folder may come from anybody: whatever its manifest states is checked before it is used.
"""

import json
import re
from typing import Any

from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_json

FORMAT = 2
MANIFEST = "manifest.json"

_TAR = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.tar")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENTRY = {
    "file": str,
    "bytes": int,
    "sha256": str,
    "index_bytes": int,
    "index_sha256": str,
    "samples": int,
    "shortest": int,
    "categories": dict,
}


def index_name(tar: str) -> str:
    """`clips-000000.tar` → `clips-000000.index.parquet`."""
    return tar.removesuffix(".tar") + ".index.parquet"


def root_digest(manifest: dict[str, Any]) -> str:
    """The digest that stands for the whole folder: format, config digest and every shard's hash."""
    return sha256_json({name: manifest[name] for name in ("format", "config_digest", "shards")})


def parse_manifest(data: bytes, place: str) -> dict[str, Any]:
    """The checked manifest in `data`.

    Args:
        data: of the file.
        place: the file, for messages.

    Raises:
        InputError: it is no manifest, of another format, or was changed since it was written.
    """
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is not JSON: {error}") from None
    _require(manifest, {"format": int}, place)
    if manifest["format"] != FORMAT:
        raise InputError(
            f"{place} has format {manifest['format']}, this version reads {FORMAT}: "
            "pack the clips again (dynamicrafter curate)"
        )
    _require(manifest, {"config_digest": str, "root_digest": str, "shards": list}, place)
    try:
        agrees = root_digest(manifest) == manifest["root_digest"]
    except ValueError:  # NaN or text that is no UTF-8, which no writer puts there
        agrees = False
    if not agrees:
        raise InputError(f"{place} does not match its root digest; pack again")
    for entry in manifest["shards"]:
        _check_entry(entry, place)
    return manifest


def _check_entry(entry: Any, place: str) -> None:
    _require(entry, _ENTRY, place)
    if not _TAR.fullmatch(entry["file"]):
        raise InputError(f"{place}: {entry['file']!r} is no file name of a shard")
    for name in ("sha256", "index_sha256"):
        if not _SHA256.fullmatch(entry[name]):
            raise InputError(f"{place}: {name} of {entry['file']} is no SHA-256")
    counts = entry["categories"].values()
    whole = all(isinstance(count, int) and count > 0 for count in counts)
    if not whole or sum(counts) != entry["samples"]:
        raise InputError(f"{place}: the categories of {entry['file']} do not add up; pack again")


def _require(entry: Any, fields: dict[str, type], place: str) -> None:
    for name, kind in fields.items():
        if not isinstance(entry, dict) or not isinstance(entry.get(name), kind):
            raise InputError(f"{place} lacks a proper {name}; it is no manifest of shards")
