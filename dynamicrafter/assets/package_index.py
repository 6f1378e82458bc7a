"""Where the Python package index keeps a pinned file, read from its simple page.

The index is the one that pip would use: `PIP_INDEX_URL`, else `index-url` in pip's configuration
files, else the public index. The page's answer is only an address; the manifest's sha256 decides.
"""

import configparser
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pypi_simple
import requests

from dynamicrafter.assets.manifest import Source
from dynamicrafter.errors import InputError, MachineError

TIMEOUT_S = 60


def open_session() -> requests.Session:
    """An HTTP session that trusts the certificates that pip is told to trust."""
    session = requests.Session()
    certificates = pip_setting("cert")
    if certificates:
        session.verify = certificates
    return session


def locate(source: Source, session: requests.Session) -> str:
    """The address of the source's file.

    Raises:
        InputError: the index does not have the file.
        MachineError: the index cannot be reached.
    """
    endpoint = pip_setting("index-url") or pypi_simple.PYPI_SIMPLE_ENDPOINT
    shown = without_credentials(endpoint)
    client = pypi_simple.PyPISimple(endpoint, session=session)
    try:
        page = client.get_project_page(source.project, timeout=TIMEOUT_S)
    except pypi_simple.NoSuchProjectError:
        raise InputError(
            f"the package index {shown} has no {source.project}; "
            "set PIP_INDEX_URL to one that mirrors the public index"
        ) from None
    except (requests.RequestException, pypi_simple.UnsupportedContentTypeError) as error:
        raise MachineError(
            f"cannot read the package index {shown} ({type(error).__name__}); "
            "check the network, or set PIP_INDEX_URL to an index within reach"
        ) from None
    for package in page.packages:
        if package.filename == source.file:
            return package.url
    raise InputError(
        f"the package index {shown} has no file {source.file}; "
        "set PIP_INDEX_URL to one that mirrors the public index"
    )


def pip_setting(key: str) -> str | None:
    """What pip is told for `key` by the environment or its configuration files; None if nothing."""
    value = os.environ.get(f"PIP_{key.upper().replace('-', '_')}")
    if value:
        return value
    parser = configparser.RawConfigParser()
    try:
        parser.read(_pip_files(), encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"pip's configuration is not readable: {reason}") from None
    return parser.get("global", key, fallback=None) or None


def _pip_files() -> list[Path]:
    """The configuration files of pip, weakest first."""
    chosen = os.environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path.home()
    user = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        user / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
    return [*files, Path(chosen)] if chosen else files


def without_credentials(url: str) -> str:
    """The address as it may be shown: user name and password taken out."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
