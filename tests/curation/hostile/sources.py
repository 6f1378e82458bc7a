"""Sources that are broken or made to harm: each builder writes its files and returns the source.

`EXPECTED` says what must come of each: so many clips and so many rows of each reason, or an error
about the source as a whole. `HEAVY` are those that try to fill memory; read them in a process whose
memory is watched.
"""

from collections.abc import Callable
from pathlib import Path

HOSTILE: dict[str, Callable[[Path], dict]] = {}
EXPECTED: dict[str, dict[str, int] | str] = {}
HEAVY: set[str] = set()

HEADER = b"videoid,contentUrl,duration,page_dir,name\n"
GOOD = b"1,u,PT00H00M18S,p,A dog runs\n"
MORE = b"2,u,PT00H00M09S,p,A cat sits\n"
WEBVID = {
    "name": "webvid",
    "kind": "table",
    "path": "videos/{page_dir}/{videoid}.mp4",
    "clip_id": "{page_dir}_{videoid}",
    "video_id": "{videoid}",
    "caption": "{name}",
    "duration": "duration",
    "extra": ["videoid", "page_dir", "contentUrl", "duration"],
    "missing": ["x", "none", "nan"],
}
OWN = {"name": "own", "kind": "table", "path": "path", "clip_id": "path", "caption": "caption"}
TIMED = {**OWN, "start": "start", "end": "end"}
FRAMES = {**OWN, "start_frame": "first", "end_frame": "last", "fps": "fps"}
PANDA = {
    **OWN,
    "path": "{videoID}.mp4",
    "clip_id": "{videoID}-{start_ms}-{end_ms}",
    "span": "timestamp",
    "nested": ["timestamp", "caption"],
}
SKY = {**OWN, "kind": "skycaptioner", "caption": None}


def hostile(error: str = "", *, heavy: bool = False, **expected: int):
    """Register a builder; `good` counts the clips, every other name is a reason.

    `other` stands for at least so many rows of whatever reasons."""

    def register(build: Callable[[Path], dict]) -> Callable[[Path], dict]:
        name = build.__name__
        HOSTILE[name], EXPECTED[name] = build, error or expected
        if heavy:
            HEAVY.add(name)
        return build

    return register


def table(folder: Path, content: bytes, name: str = "clips.csv", source: dict = WEBVID) -> dict:
    (folder / name).write_bytes(content)
    return {**source, "table": str(folder / name), "data_dir": str(folder / "data")}


def webvid(folder: Path, *rows: bytes) -> dict:
    return table(folder, HEADER + GOOD + b"".join(rows) + MORE)


def own(folder: Path, *rows: bytes, source: dict = OWN, header: bytes = b"path,caption") -> dict:
    return table(folder, header + b"\n" + b"".join(row + b"\n" for row in rows), source=source)


def json_file(folder: Path, content: str | bytes, name: str, source: dict = OWN) -> dict:
    content = content if isinstance(content, bytes) else content.encode()
    return table(folder, content, name, source)
