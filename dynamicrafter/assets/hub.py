"""Download one pinned file from the model hub; the only module that imports `huggingface_hub`."""

import os
from pathlib import Path

from dynamicrafter.assets.manifest import Source
from dynamicrafter.errors import InputError, MachineError


def download_from_hub(source: Source, file: Path) -> None:
    """Write `source.file` of `source.repo` at `source.revision` to `file`, its digest unchecked.

    The library's own progress bar shows the transfer, and an interrupted one goes on.

    Raises:
        InputError: `huggingface_hub` is not installed, or the hub has not the file or not for you.
        MachineError: the hub cannot be reached.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise InputError(
            f"{source.name} comes from the model hub; run: pip install 'dynamicrafter-toolkit[hub]'"
        ) from None
    where = f"{source.repo}@{source.revision}/{source.file}"
    try:
        found = hf_hub_download(
            source.repo, source.file, revision=source.revision, local_dir=file.parent / "hub"
        )
    except LocalEntryNotFoundError:  # the library's word for a hub out of reach
        raise MachineError(
            f"cannot reach the model hub for {where}; check the network and HF_HUB_OFFLINE"
        ) from None
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
        raise InputError(
            f"the model hub has no {where}, or not for you; if it is gated, set HF_TOKEN"
        ) from None
    except HfHubHTTPError as error:
        raise MachineError(f"the model hub fails on {where}: {type(error).__name__}") from None
    os.replace(found, file)
