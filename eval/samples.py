"""What is compared: for each generated video its real window, its input image and its prompt.

The real side is a selection of a benchmark, a shard folder, a folder of videos, or absent. What
cannot be compared is dropped with a reason; dropped generated videos make a set incomplete.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dynamicrafter.errors import InputError
from dynamicrafter.files import inside, read_json
from dynamicrafter.shards import ShardReader, may_be_passed_on
from eval.benchmarks.selection import Chosen, image_path, read_selection
from eval.inspection import Inspected, Inspector
from eval.methods import Method, doubled, first_of, folder_digest, video_files
from eval.protocols import Protocol
from eval.results import Dropped
from eval.windows import (
    Seen,
    Still,
    VideoFile,
    Window,
    by_hash,
    shard_windows,
    window,
    window_start,
)

SELECTION = "selection.csv"
NOT_GENERATED = "no video of this key was generated"


@dataclass(frozen=True)
class Sample:
    """A generated video with what belongs to it; None where there is no such thing.

    Attributes:
        key: of the video.
        generated: its window.
        fps: frames per second of its file, which the window's need not be.
        real: the window of the real video that starts with the input image.
        image: what the model saw, a window of one frame.
        prompt: what it was told.
        group: class, category or action; `none` without one.
        may_be_passed_on: whether the source lets the real video leave this machine.
    """

    key: str
    generated: Window
    fps: float
    real: Window | None = None
    image: Seen | None = None
    prompt: str | None = None
    group: str = "none"
    may_be_passed_on: bool = False


@dataclass(frozen=True)
class Compared:
    """All that is compared.

    Attributes:
        samples: in the order of their keys.
        real: the real windows: those of the samples, or all of a folder whose videos are no pairs.
        dropped: what could not be compared.
        remarks: what a reader of the numbers should know.
    """

    samples: list[Sample]
    real: list[Window]
    dropped: list[Dropped]
    remarks: list[str]


def reference_digest(reference: str | None) -> str:
    """Of the real side.

    Raises:
        InputError: there is no such folder, or nothing in it.
    """
    if reference is None:
        return "none"
    folder = _existing(reference)
    if (folder / SELECTION).is_file():
        return folder_digest({"selection": folder / SELECTION})
    if (folder / "manifest.json").is_file():
        return ShardReader(folder).digest
    return folder_digest(video_files(folder))


def compared(
    reference: str | None,
    method: Method,
    protocol: Protocol,
    root: str | None,
    inspect: Inspector,
) -> Compared:
    """Bring the generated videos of a method and the real side together.

    Args:
        reference: folder of a selection, of shards or of videos; None compares with nothing.
        method: the generated videos.
        protocol: how windows are cut.
        root: where the videos of a selection lie; None is the place that it was made from.
        inspect: looks into files.

    Raises:
        InputError: what belongs to nothing, videos that occur twice.
    """
    found = inspect(method.videos, protocol.frames, method.foreign)
    _refuse_doubled(method)
    own = _Own(method, protocol, found)
    if reference is None:
        return own.with_samples([own.sample(key) for key in own.good], [])
    folder = _existing(reference)
    if (folder / SELECTION).is_file():
        return _selected(own, folder, root)
    if (folder / "manifest.json").is_file():
        return _from_shards(own, ShardReader(folder))
    return _from_folder(own, folder, inspect)


class _Own:
    """The generated side."""

    def __init__(self, method: Method, protocol: Protocol, found: Inspected):
        self.method = method
        self.protocol = protocol
        self.found = found
        self.good = sorted(found.good)

    def sample(self, key: str, fps: float = 0.0) -> Sample:
        """A sample of the generated side alone; `fps` is of the scene, the file's own at 0."""
        video, own = VideoFile(self.method.videos[key]), self.found.good[key].fps
        made = window(key, video, 0, self.protocol, 1, fps or own)
        return Sample(key, made, own, prompt=self.method.prompts.get(key))

    def with_samples(self, samples: list[Sample], dropped: list[Dropped]) -> Compared:
        """What is compared, with what was dropped on both sides."""
        samples = sorted(samples, key=lambda sample: sample.key)
        real = [sample.real for sample in samples if sample.real is not None]
        own = [Dropped(key, "generated", why) for key, why in sorted(self.found.bad.items())]
        return Compared(samples, real, dropped + own, self._remarks(samples))

    def _remarks(self, samples: Sequence[Sample]) -> list[str]:
        facts = [self.found.good[sample.key] for sample in samples]
        height, width = self.protocol.resolution
        remarks = []
        sizes = {f"{one.size[0]}x{one.size[1]}" for one in facts} - {f"{width}x{height}"}
        if sizes:
            said = first_of(sorted(sizes))
            remarks.append(f"Generated videos of {said} were brought to {width}x{height}.")
        longer = sum(one.frames > self.protocol.frames for one in facts)
        if longer:
            frames = self.protocol.frames
            remarks.append(f"Of {longer} longer generated videos the first {frames} frames count.")
        return remarks


def _selected(own: _Own, folder: Path, root: str | None) -> Compared:
    """A selection: every chosen key has its video."""
    rows = {row.key: row for row in read_selection(folder / SELECTION)}
    place = Path(root or read_json(folder / "integrity.json")["root"])
    _refuse_strange(own, set(rows), str(folder / SELECTION))
    samples, dropped = [], []
    for key, row in rows.items():
        if key not in own.method.videos:
            dropped.append(Dropped(key, "generated", NOT_GENERATED))
        if key in own.found.good:
            samples.append(_of_selection(own, row, place, folder))
    return own.with_samples(samples, dropped)


def _of_selection(own: _Own, row: Chosen, root: Path, folder: Path) -> Sample:
    picture = image_path(folder, row.key)
    image = Still(row.key, picture, own.protocol.resolution) if picture.is_file() else None
    real = None
    if row.video and row.start_frame is not None and row.fps is not None:
        video = VideoFile(inside(root, row.video), row.sha256)
        fps = row.fps / row.stride
        real = window(row.key, video, row.start_frame, own.protocol, row.stride, fps)
    sample = own.sample(row.key, real.fps if real else 0.0)
    return replace(
        sample, real=real, image=image, prompt=sample.prompt or row.prompt, group=row.group
    )


def _from_shards(own: _Own, reader: ShardReader) -> Compared:
    """Shards: the generated videos start from clips of theirs, not from every one."""
    _refuse_strange(own, set(reader.keys), str(reader.folder))
    keys = by_hash([key for key in own.good])
    real, short = shard_windows(reader, keys, own.protocol, own.protocol.count)
    reason = f"shorter than the {own.protocol.span} frames of a window"
    place = {key: index for index, key in enumerate(reader.keys)}
    samples = []
    for one in real:
        clip = reader[place[one.key]]
        sample = own.sample(one.key, one.fps)
        samples.append(
            replace(
                sample,
                real=one,
                image=replace(one, frames=1),
                prompt=sample.prompt or clip.text,
                group=str(clip.info.get("dynamic_source_category", "none")),
                may_be_passed_on=may_be_passed_on(clip.info),
            )
        )
    return own.with_samples(samples, [Dropped(key, "reference", reason) for key in short])


def _from_folder(own: _Own, folder: Path, inspect: Inspector) -> Compared:
    """A folder of videos: pairs by key where the keys are the same, else two sets."""
    windows, dropped = _folder_windows(folder, own.protocol, inspect, "reference")
    if not windows:
        said = first_of([f"{one.key} ({one.reason})" for one in dropped])
        raise InputError(
            f"none of the {len(dropped)} videos in {folder} can be compared with: {said}; name "
            "another reference=FOLDER, or reference=null for none"
        )
    bad = {one.key for one in dropped}
    shared = [key for key in own.good if key in windows]
    if not shared:
        alone = own.with_samples([own.sample(key) for key in own.good], dropped)
        remark = "The two folders share no key: distances compare them as sets, and nothing else."
        real = [windows[key] for key in sorted(windows)]
        return replace(alone, real=real, remarks=[*alone.remarks, remark])
    missing = (set(windows) | set(own.method.videos)) - set(shared) - bad - set(own.found.bad)
    dropped += [
        Dropped(key, "generated", NOT_GENERATED if key in windows else "no real video of this key")
        for key in sorted(missing)
    ]
    samples = [
        replace(own.sample(key, windows[key].fps), real=windows[key],
                image=replace(windows[key], frames=1))
        for key in shared
    ]  # fmt: skip
    return own.with_samples(samples, dropped)


def other_windows(
    reference: str, count: int, protocol: Protocol, inspect: Inspector
) -> tuple[list[Window], list[Dropped]]:
    """At most `count` windows of other real videos, of shards or of a folder."""
    folder = _existing(reference)
    if (folder / "manifest.json").is_file():
        reader = ShardReader(folder)
        windows, short = shard_windows(reader, by_hash(reader.keys), protocol, count)
        reason = f"shorter than the {protocol.span} frames of a window"
        return windows, [Dropped(key, "second_reference", reason) for key in short]
    found, bad = _folder_windows(folder, protocol, inspect, "second_reference")
    return [found[key] for key in by_hash(sorted(found))[:count]], bad


def _folder_windows(
    folder: Path, protocol: Protocol, inspect: Inspector, setting: str
) -> tuple[dict[str, Window], list[Dropped]]:
    """The real windows of a folder of videos, by key, and what is no window."""
    videos = video_files(folder)
    found = inspect(videos, protocol.span, True)
    windows = {}
    for key, facts in found.good.items():
        start = window_start(protocol, key, max(facts.frames, protocol.span))
        fps = facts.fps / protocol.stride
        windows[key] = window(key, VideoFile(videos[key]), start, protocol, protocol.stride, fps)
    return windows, [Dropped(key, setting, why) for key, why in sorted(found.bad.items())]


def _existing(reference: str) -> Path:
    if not Path(reference).is_dir():
        raise InputError(
            f"there is no folder {reference}; it takes a selection, shards or a folder of videos"
        )
    return Path(reference)


def _refuse_strange(own: _Own, keys: set[str], place: str) -> None:
    if strange := sorted(set(own.method.videos) - keys):
        raise InputError(
            f"the generated video {strange[0]} starts from no clip of {place} ({len(strange)} such)"
            "; evaluate against the clips that were animated"
        )


def _refuse_doubled(method: Method) -> None:
    if groups := doubled(method.videos):
        raise InputError(
            f"{method.folder} holds the same video under several keys: {first_of(groups[0])} "
            f"({len(groups)} such groups); each input needs a video of its own"
        )
