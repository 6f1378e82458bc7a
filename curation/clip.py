"""A row of a source: a video, a part of one, or the reason why the row is neither."""

from dataclasses import dataclass, field

UNKNOWN = "none"
"""What stands in a DCP column that nobody knows; an empty cell would make loaders drop the row."""


@dataclass(frozen=True)
class Clip:
    """A video, or the part [start_s, end_s) of one, as a source lists it.

    Nothing was opened to make it: the file may be missing, broken or no video at all. A row that
    cannot be a clip (an id that is empty, a path that leaves the folder, a broken cell) carries the
    `reason` and is never opened.
    """

    clip_id: str  # stable free text
    source: str  # name of the source
    root: str  # folder below which `path` must stay
    path: str  # of the video, or of the tar that holds it, relative to `root`
    member: tuple[int, int] | None = None  # (offset, size) in bytes where the video lies in a tar
    video_id: str = ""  # the video that the clip was cut from; empty: the clip is the video
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end
    stated_s: float | None = None  # duration of the file as the source states it
    caption: str = UNKNOWN  # the stock caption
    extra: dict[str, str] = field(default_factory=dict)  # page_dir, contentUrl, licence, scores, …
    reason: str = ""  # a short word: why the row is no clip
    message: str = ""  # one line about it

    @property
    def source_video(self) -> str:
        """What stays together when the clips are split."""
        return self.video_id or self.clip_id
