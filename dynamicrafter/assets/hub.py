"""Download from the model hub; the only module that imports `huggingface_hub`."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from dynamicrafter import files
from dynamicrafter.assets.manifest import Source
from dynamicrafter.errors import InputError, MachineError


def download_from_hub(source: Source, file: Path) -> None:
    """Write `source.file` of `source.repo` at `source.revision` to `file`, its digest unchecked.

    The library's own progress bar shows the transfer, and an interrupted one goes on.

    Raises:
        InputError: `huggingface_hub` is not installed, or the hub has not the file or not for you.
        MachineError: the hub cannot be reached.
    """
    with _hub_errors(f"{source.repo}@{source.revision}/{source.file}"):
        from huggingface_hub import hf_hub_download

        found = hf_hub_download(
            source.repo, source.file, revision=source.revision, local_dir=file.parent / "hub"
        )
    os.replace(found, file)


def download_released(repo: str, name: str) -> Path:
    """Fetch a released file into the library's own cache, or find it there; return its path.

    No digest of these files is pinned: what arrives is compared with the SHA-256 that the hub
    states for it. What lies in the cache is taken as it is, also without network.

    Raises:
        InputError: as `download_from_hub`, or what arrived is not what the hub states.
        MachineError: the hub cannot be reached and the cache has not the file.
    """
    with _hub_errors(f"{repo}/{name}"):
        from huggingface_hub import hf_hub_download
        from huggingface_hub.file_download import try_to_load_from_cache

        cached = try_to_load_from_cache(repo, name)
        if isinstance(cached, str):
            return Path(cached)
        found = Path(hf_hub_download(repo, name))
    stated = found.resolve().name  # the cache names a large file by the digest that the hub states
    if re.fullmatch("[0-9a-f]{64}", stated) and files.sha256_file(found) != stated:
        found.resolve().unlink()
        found.unlink()
        raise InputError(f"{repo}/{name} arrived damaged and was removed; run it again")
    return found


@contextlib.contextmanager
def _hub_errors(where: str) -> Iterator[None]:
    """The library's errors as ours; `where` names the file."""
    try:
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise InputError(
            f"{where} comes from the model hub; run: pip install 'dynamicrafter-toolkit[hub]'"
        ) from None
    try:
        yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):  # a hub out of reach
        raise MachineError(
            f"cannot reach the model hub for {where}; check the network and HF_HUB_OFFLINE"
        ) from None
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
        raise InputError(
            f"the model hub has no {where}, or not for you; if it is gated, set HF_TOKEN"
        ) from None
    except HfHubHTTPError as error:
        raise MachineError(f"the model hub fails on {where}: {type(error).__name__}") from None
