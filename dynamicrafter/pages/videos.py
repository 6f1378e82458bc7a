"""Video and image figures whose bytes lie inside the page, and a budget for those bytes.

Videos are muted and loop, so that a browser lets them start by themselves; the page's script plays
those of one group in step.
"""

import base64
from collections.abc import Sequence

from markupsafe import Markup


def data_uri(data: bytes, media_type: str) -> str:
    """`data` as a data: URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def video(data: bytes, label: str, title: str | None = None) -> Markup:
    """A figure with one mp4 video; `label` describes it, `title` stands beneath it."""
    player = Markup(
        '<video muted loop playsinline controls preload="auto" aria-label="{}" src="{}"></video>'
    ).format(label, data_uri(data, "video/mp4"))
    return _figure(player, title)


def image(data: bytes, label: str, title: str | None = None) -> Markup:
    """A figure with one PNG image; `label` describes it, `title` stands beneath it."""
    picture = Markup('<img alt="{}" src="{}">').format(label, data_uri(data, "image/png"))
    return _figure(picture, title)


def together(figures: Sequence[Markup]) -> Markup:
    """Figures side by side; their videos start, stop and move in step, and play while in view."""
    return Markup('<div class="together" data-together>{}</div>').format(Markup("").join(figures))


def _figure(content: Markup, title: str | None) -> Markup:
    caption = Markup("<figcaption>{}</figcaption>").format(title) if title else Markup("")
    return Markup("<figure>{}{}</figure>").format(content, caption)


class Budget:
    """The bytes of media that a page may still take in."""

    def __init__(self, total: int):
        """`total`: bytes in the page, after base64."""
        self.left = total

    def take(self, *media: bytes) -> bool:
        """Take all of `media` or, where they do not fit, nothing; say which."""
        size = sum(4 * ((len(data) + 2) // 3) for data in media)
        if size > self.left:
            return False
        self.left -= size
        return True
