"""Whether clips may be shown to a model at all: a server elsewhere gets their pictures."""

import ipaddress
from urllib.parse import urlsplit

from curation.captions.embedded import CaptionSettings
from curation.captions.vlm import VlmSettings
from dynamicrafter.errors import InputError


def sends_media(settings: CaptionSettings | VlmSettings) -> bool:
    """Whether pictures leave this machine."""
    if not isinstance(settings, VlmSettings):
        return False
    if settings.mode != "pixels" or settings.backend != "http":
        return False
    return not all(_is_here(url) for url in settings.client.get("servers") or [])


def refuse_to_send(
    settings: CaptionSettings | VlmSettings, may_be_passed_on: dict[str, bool], allow_media: bool
) -> None:
    """Stop before pictures leave this machine whose source does not say that they may.

    Args:
        settings: of the captioner.
        may_be_passed_on: source → whether it says so.
        allow_media: let them leave nevertheless.

    Raises:
        InputError: they would.
    """
    kept = sorted(name for name, may in may_be_passed_on.items() if not may)
    if kept and not allow_media and sends_media(settings):
        raise InputError(
            f"captioner.client.servers lie on other machines, and the source {kept[0]} does not "
            "say that its media may be passed on; if the servers are yours, pass allow_media=true"
        )


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
