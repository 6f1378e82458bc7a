"""Download one pinned file over HTTP, going on where an earlier attempt stopped.

What has arrived is kept in `<target>.partial`. The target's name appears only once the whole file
has the expected sha256; a partial that leads to another digest is thrown away.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import requests

from dynamicrafter.assets.package_index import TIMEOUT_S, without_credentials
from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.files import TEMPORARY_SUFFIX, sha256_file

Report = Callable[[int, int], None]  # (bytes so far, bytes in all)

ATTEMPTS = 4
FIRST_PAUSE_S = 0.5  # before the second attempt; it doubles with each
LONGEST_WAIT_S = 60.0  # that a server's Retry-After may ask for
CHUNK = 1 << 16  # bytes; what is lost at most when the line breaks


def download(
    session: requests.Session, url: str, target: Path, sha256: str, size: int, report: Report
) -> None:
    """Fetch `url` to `target`.

    Raises:
        InputError: the server has not the file, or what it sends has not the sha256.
        MachineError: the network is down or the transfer kept breaking off.
    """
    partial = target.with_name(target.name + TEMPORARY_SUFFIX)
    if _length(partial) > size:
        partial.unlink()
    resumed = partial.exists()
    _complete(session, url, partial, size, report)
    found = sha256_file(partial)
    if found != sha256 and resumed:  # the older part may be to blame: once more, from nothing
        partial.unlink()
        _complete(session, url, partial, size, report)
        found = sha256_file(partial)
    if found != sha256:
        partial.unlink()
        raise InputError(f"{target.name}: expected sha256 {sha256}, found {found}; file removed")
    os.replace(partial, target)


def _length(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _complete(
    session: requests.Session, url: str, partial: Path, size: int, report: Report
) -> None:
    """Bring `partial` to `size` bytes, in several attempts with growing pauses."""
    shown = without_credentials(url)
    failure, asked = "", 0.0
    attempts = 0
    while (have := _length(partial)) < size:
        if attempts == ATTEMPTS:
            raise MachineError(
                f"cannot download {shown} ({failure}); check the network and run the command "
                "again, it goes on where it stopped"
            )
        if attempts:
            time.sleep(max(asked, FIRST_PAUSE_S * 2 ** (attempts - 1)))
        asked = 0.0
        attempts += 1
        try:
            _append(session, url, partial, have, size, report)
            failure = "the server sent less than the whole file"
        except requests.HTTPError as error:
            status = error.response.status_code
            if status < 500 and status != requests.codes.too_many_requests:
                raise InputError(f"{shown} answers {status} {error.response.reason}") from None
            failure, asked = f"status {status}", _retry_after(error.response)
        except requests.RequestException as error:
            failure = type(error).__name__


def _retry_after(response: requests.Response) -> float:
    """The seconds that the server asks to wait, within bounds; 0 where it does not say."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT_S) if asked.isdecimal() else 0.0


def _append(
    session: requests.Session, url: str, partial: Path, have: int, size: int, report: Report
) -> None:
    """One request for what is missing; the server may insist on sending all of it."""
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == 416:  # what we hold does not fit what the server has
            partial.unlink()
            return
        response.raise_for_status()
        fits = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status_code != 206 or not fits:
            have = 0
        with open(partial, "r+b" if have else "wb") as file:
            file.seek(have)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                have += len(chunk)
                if have > size:  # refused by the digest; no reason to take the rest
                    return
                report(have, size)
