"""The list of assets: what each is, where it comes from and by which digests it is known.

The list that ships with the package is `manifest.yaml`. A file of the same form named by
`DYNAMICRAFTER_MANIFEST` adds entries: weights that cannot be pinned here can be pinned by whoever
holds them.
"""

import functools
import os
import re
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_origin

import yaml

from dynamicrafter.errors import InputError

MANIFEST = Path(__file__).with_name("manifest.yaml")
EXTRA_MANIFEST_VARIABLE = "DYNAMICRAFTER_MANIFEST"

CONVERSIONS = ("i3d", "lpips")  # of pickled arrays to safetensors

REQUIRED_OF_ORIGIN = {
    "package": ("project", "version"),
    "hub": ("repo", "revision"),
    "file": ("path",),
}


@dataclass(frozen=True)
class Source:
    """A whole file elsewhere. `origin` says which of the last fields apply."""

    name: str
    origin: str  # package, hub or file
    file: str
    sha256: str
    size: int  # bytes
    licence: str
    attribution: str
    project: str = ""  # package
    version: str = ""
    repo: str = ""  # hub
    revision: str = ""
    path: str = ""  # file


@dataclass(frozen=True)
class Asset:
    """What is kept of a source: a member of an archive, or the source itself without `member`.

    `sha256` and `size` are those of the member. Where `convert` names a conversion, what lies in
    the cache is its result, known by `converted_sha256` and `converted_size`.
    """

    name: str
    kind: str  # video or weights
    title: str
    source: Source
    sha256: str
    size: int  # bytes
    member: tuple[str, ...] = ()  # path in the archive; several: archive in archive
    convert: str = ""  # "" or one of CONVERSIONS
    converted_sha256: str = ""
    converted_size: int = 0
    demo: bool = False

    @property
    def stored_sha256(self) -> str:
        """Hex SHA-256 of the file in the cache."""
        return self.converted_sha256 or self.sha256

    @property
    def stored_size(self) -> int:
        """Bytes of the file in the cache."""
        return self.converted_size or self.size

    @property
    def file_name(self) -> str:
        """Name of the file in the cache."""
        if self.convert:
            return f"{self.name}.safetensors"
        return self.name + Path(self.member[-1] if self.member else self.source.file).suffix


def load_manifest() -> dict[str, Asset]:
    """All assets by name: those of the package, then those of `$DYNAMICRAFTER_MANIFEST`.

    Raises:
        InputError: a manifest is missing or an entry in it is not well formed.
    """
    assets = dict(_shipped())
    extra = os.environ.get(EXTRA_MANIFEST_VARIABLE)
    if extra:
        added = read_manifest(Path(extra))
        taken = sorted(assets.keys() & added.keys())
        if taken:
            raise InputError(f"{extra}: the name {taken[0]!r} is already taken; choose another")
        assets |= added
    return assets


@functools.cache
def _shipped() -> dict[str, Asset]:
    return read_manifest(MANIFEST)


def read_manifest(path: Path) -> dict[str, Asset]:
    """Read one manifest file.

    Raises:
        InputError: the file is missing or an entry is not well formed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the asset manifest {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the asset manifest {path} is not YAML: {reason}") from None
    sections = [content.get(key) if isinstance(content, dict) else None for key in _SECTIONS]
    if not all(isinstance(section, dict) for section in sections):
        raise InputError(f"{path} needs the two mappings {' and '.join(_SECTIONS)}")
    raw_sources, raw_assets = sections
    sources = {name: _source(path, name, entry) for name, entry in raw_sources.items()}
    return {name: _asset(path, name, entry, sources) for name, entry in raw_assets.items()}


_SECTIONS = ("sources", "assets")


def _source(path: Path, name: str, entry: Any) -> Source:
    where = f"{path}: source {name!r}"
    source: Source = _build(Source, where, name, entry)
    if source.origin not in REQUIRED_OF_ORIGIN:
        raise InputError(f"{where}: origin {source.origin!r} is none of {[*REQUIRED_OF_ORIGIN]}")
    for key in REQUIRED_OF_ORIGIN[source.origin]:
        if not getattr(source, key):
            raise InputError(f"{where}: origin {source.origin} needs {key!r}")
    if Path(source.file).is_absolute() or ".." in Path(source.file).parts:
        raise InputError(f"{where}: {source.file!r} is not a plain file name")
    _check_pin(where, source.sha256, source.size)
    return source


def _asset(path: Path, name: str, entry: Any, sources: dict[str, Source]) -> Asset:
    where = f"{path}: asset {name!r}"
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", str(name)):
        raise InputError(f"{where}: a name is made of a-z, 0-9, _ and -, at most 80")
    if not isinstance(entry, dict) or entry.get("source") not in sources:
        raise InputError(f"{where}: 'source' names none of the sources {sorted(sources)}")
    entry = entry | {"source": sources[entry["source"]]}
    entry["member"] = tuple(entry.get("member", ()))
    asset: Asset = _build(Asset, where, name, entry)
    _check_pin(where, asset.sha256, asset.size)
    if asset.convert not in ("", *CONVERSIONS):
        raise InputError(
            f"{where}: there is no conversion {asset.convert!r}; there are {', '.join(CONVERSIONS)}"
        )
    if asset.convert:
        _check_pin(where, asset.converted_sha256, asset.converted_size)
    return asset


def _build(cls: Any, where: str, name: str, entry: Any) -> Any:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is not a mapping")
    known = {field.name: field for field in fields(cls) if field.name != "name"}
    unknown = sorted(entry.keys() - known.keys())
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; known are {sorted(known)}")
    for key, field in known.items():
        if key not in entry and field.default is MISSING:
            raise InputError(f"{where} lacks {key!r}")
        kind = get_origin(field.type) or field.type
        if key in entry and not isinstance(entry[key], kind):
            raise InputError(f"{where}: {key!r} is {entry[key]!r}, not a {kind.__name__}")
    return cls(name=name, **entry)


def _check_pin(where: str, sha256: str, size: int) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InputError(f"{where}: sha256 {sha256!r} is not 64 lower-case hex digits")
    if size <= 0:
        raise InputError(f"{where}: size {size} is not a number of bytes")
