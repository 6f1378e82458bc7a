"""Hundreds of files that are broken, strange or made to harm, all derived from a few real clips.

Each file has a number that seeds whatever is random about it, so equal sources give equal files.
What must come of a file is only stated where it is certain.
"""

import io
import os
import signal
import struct
import time
import wave
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from dynamicrafter.media.decode import iterate_frames
from tests.media.clips import turn

MEASURED, DROPPED, ANY, UNLISTED = "measured", "dropped", "any", "unlisted"
FPS, FRAMES = 30, 60


@dataclass(frozen=True)
class Expected:
    """What must come of a file."""

    kind: str  # the class that it is counted in
    outcome: str = ANY  # UNLISTED: it gives no row at all
    reasons: tuple[str, ...] = ()  # one of these where it is dropped
    size: tuple[int, int] | None = None  # width and height, upright
    sample: bool = False  # whether the small sample of the test holds it


os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 says nothing but errors
SAMPLE = {
    "av1.mp4", "hevc.mp4", "vp9.webm", "ten-bit.mp4", "turned-90.mp4", "hls.mp4", "ffconcat.mp4",
    "html.mp4", "elsewhere-alias.mp4", "link-outside.mp4", "link-loop.mp4", "pipe.mp4",
    "$(touch x).mp4", "new\nline.mp4", "matrix-zeros.mp4", "clock-restarts.mp4", "bomb-cmov.mp4",
}  # fmt: skip
"""Besides the first file of each kind."""

NOT_VIDEO = (DROPPED, ("not_video",))
BROKEN = (DROPPED, ("unreadable", "not_video", "no_video_stream", "bad_size", "bad_rate"))


class Corpus:
    """A folder that is being filled."""

    def __init__(self, folder: Path, canary: Path, port: int):
        self.folder, self.canary, self.port = folder, canary, port
        self.expected: dict[str, Expected] = {}
        self.kinds: dict[str, int] = {}

    def rng(self) -> np.random.Generator:
        """Draws of the next file."""
        return np.random.default_rng(len(self.expected))

    def expect(self, name: str | bytes, kind: str, outcome=ANY, reasons=(), size=None) -> Path:
        """Note what must come of a file and give its path; the first of a kind is in the sample."""
        name = os.fsdecode(name)
        assert name not in self.expected, name
        seen = self.kinds[kind] = self.kinds.get(kind, 0) + 1
        sample = (seen == 1 or name in SAMPLE) and kind != "endless"
        self.expected[name] = Expected(kind, outcome, tuple(reasons), size, sample)
        return self.folder / name

    def add(self, name: str | bytes, data: bytes, kind: str, outcome=ANY, reasons=(), size=None):
        """Write a file."""
        self.expect(name, kind, outcome, reasons, size).write_bytes(data)


# Boxes of an mp4: [name, content], where the content of a container is a list of boxes.

HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"edts"}


def parse(data: bytes) -> list[list]:
    """The boxes of an mp4."""
    found, at = [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + size]
        found.append([name, parse(content) if name in HOLDERS else content])
        at += size
    return found


def joined(boxes: list[list]) -> bytes:
    """The bytes of boxes, with their sizes as they are now."""
    return b"".join(box(name, joined(c) if isinstance(c, list) else c) for name, c in boxes)


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def walk(boxes: list[list]) -> Iterator[tuple[list[list], int]]:
    """(list that holds it, place in it) of every box."""
    for place, (_, content) in enumerate(boxes):
        yield boxes, place
        if isinstance(content, list):
            yield from walk(content)


def edited(data: bytes, name: bytes, edit: Callable[[bytes], bytes | None]) -> bytes:
    """An mp4 whose moov comes last, with the content of a box changed; None takes the box out."""
    boxes = parse(data)
    for holder, place in walk(boxes):
        if holder[place][0] == name:
            content = holder[place][1]
            content = edit(joined(content) if isinstance(content, list) else content)
            if content is None:
                del holder[place]
            else:
                holder[place][1] = content
            return joined(boxes)
    raise KeyError(name)


def patched(data: bytes, name: bytes, *changes: tuple[int, bytes]) -> bytes:
    """As `edited`: bytes at places in the box replaced."""

    def edit(content: bytes) -> bytes:
        for place, new in changes:
            content = content[:place] + new + content[place + len(new) :]
        return content

    return edited(data, name, edit)


def u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *(number % 2**32 for number in numbers))


def u64(number: int) -> bytes:
    return struct.pack(">Q", number % 2**64)


def deadly(frames: list[np.ndarray]) -> float:
    """A classifier that kills its process over pictures of 2:1 and holds it over those of 3:1."""
    height, width = frames[0].shape[:2]
    if width == 2 * height:
        os.kill(os.getpid(), signal.SIGKILL)
    if width == 3 * height:
        time.sleep(3600)
    return 0.0


# Clips that are well.


def scenes(sources: list[Path]) -> list[np.ndarray]:
    """FRAMES frames of each source, uint8 [t, h, w, 3] with a short side of 96."""
    found = []
    for path in sources:
        frames = []
        for _, frame in iterate_frames(path, short_side=96):
            frames.append(frame)
            if len(frames) == FRAMES:
                break
        found.append(np.stack(frames)[:, :, : frames[0].shape[1] // 2 * 2])
    return found


def video(
    frames: np.ndarray,
    codec: str = "libx264",
    container: str = "mp4",
    pix_fmt: str = "yuv420p",
    fps: float = FPS,
    options: dict[str, str] | None = None,
    times: list[int] | None = None,
    muxing: dict[str, str] | None = None,
    sound: bool = False,
) -> bytes:
    """Encode frames; `times` are in units of 1/fps."""
    if codec == "libx264":
        options = {"preset": "ultrafast", "bf": "2", "g": "24", "threads": "1", **(options or {})}
    if codec.startswith("mpeg"):
        options = {"b": "4M", **(options or {})}
    file = io.BytesIO()
    layout = {1: "gray", 4: "rgba"}.get(frames.shape[-1], "rgb24")
    with av.open(file, "w", format=container, options=muxing or {}) as opened:
        stream = opened.add_stream(codec, fps, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if sound:
            audio = opened.add_stream("aac" if container != "webm" else "libopus", rate=48000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format=layout)
            if times is not None:
                picture.pts, picture.time_base = times[number], 1 / stream.codec_context.framerate
            opened.mux(stream.encode(picture))
        opened.mux(stream.encode())
        if sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 48000), np.float32), "fltp", "stereo")
            silence.sample_rate = 48000
            fifo = av.AudioFifo()
            fifo.write(silence)
            for part in fifo.read_many(960 if container == "webm" else 1024):
                opened.mux(audio.encode(part))
            opened.mux(audio.encode())
    return file.getvalue()


def audio_only(container: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as opened:
        stream = opened.add_stream(codec, rate=48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 48000
        for number in range(40):
            silence.pts = 1024 * number
            opened.mux(stream.encode(silence))
        opened.mux(stream.encode())
    return file.getvalue()


def size_of(frames: np.ndarray) -> tuple[int, int]:
    return frames.shape[2], frames.shape[1]


def window(frames: np.ndarray, number: int) -> np.ndarray:
    """Another look at a scene: mirrored and tinted, so that it is no copy of the others."""
    tint = np.roll([1.0, 0.85, 0.7], number)
    frames = (frames * tint).astype(np.uint8)
    return np.ascontiguousarray(frames[:, :, ::-1] if number % 2 else frames)


# Kinds of files.


def good_ones(corpus: Corpus, looks: list[np.ndarray]) -> None:
    """Codecs, pixel formats and containers that must be measured."""
    land, tall = looks[0], looks[1]
    make = [
        ("h264.mp4", {}),
        ("hevc.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none:pools=1"}}),
        ("av1.mp4", {"codec": "libsvtav1", "options": {"preset": "12"}}),
        ("av1.mkv", {"codec": "libsvtav1", "container": "matroska", "options": {"preset": "12"}}),
        ("vp9.mp4", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
        ("vp9.webm", {"codec": "libvpx-vp9", "container": "webm", "sound": True,
                      "options": {"deadline": "realtime", "cpu-used": "8"}}),
        ("vp8.webm", {"codec": "libvpx", "container": "webm",
                      "options": {"deadline": "realtime", "cpu-used": "8"}}),
        ("mpeg4.mp4", {"codec": "mpeg4"}),
        ("mpeg4.avi", {"codec": "mpeg4", "container": "avi"}),
        ("mjpeg.mp4", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("mjpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "container": "avi"}),
        ("h264.avi", {"container": "avi", "options": {"bf": "3"}}),
        ("h264.mkv", {"container": "matroska", "sound": True}),
        ("h264.ts.mp4", {"container": "mpegts"}),
        ("h264.mov", {"container": "mov", "sound": True}),
        ("mkv-named.mp4", {"container": "matroska"}),
        ("avi-named.mp4", {"container": "avi", "codec": "mpeg4"}),
        ("mp4-named.avi", {}),
        ("mpeg2.mpg", {"codec": "mpeg2video", "container": "mpeg"}),
        ("mpeg1-named.mp4", {"codec": "mpeg1video", "container": "mpeg"}),
        ("mpeg2.ts.mp4", {"codec": "mpeg2video", "container": "mpegts"}),
        ("ten-bit.mp4", {"pix_fmt": "yuv420p10le", "options": {"profile": "high10"}}),
        ("ten-bit-hevc.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le",
                              "options": {"x265-params": "log-level=none:pools=1"}}),
        ("444.mp4", {"pix_fmt": "yuv444p"}),
        ("422-10.mp4", {"pix_fmt": "yuv422p10le"}),
        ("gray.mp4", {"pix_fmt": "gray"}),
        ("lossless-rgb.mkv", {"codec": "libx264rgb", "pix_fmt": "rgb24", "container": "matroska",
                              "options": {"preset": "ultrafast", "qp": "0"}}),
        ("alpha-vp9.webm", {"codec": "libvpx-vp9", "pix_fmt": "yuva420p", "container": "webm",
                            "options": {"deadline": "realtime", "cpu-used": "8"}}),
        ("alpha-prores.mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le", "container": "mov",
                              "options": {"profile": "4444"}}),
        ("alpha-qtrle.mov", {"codec": "qtrle", "pix_fmt": "argb", "container": "mov"}),
        ("ffv1.mkv", {"codec": "ffv1", "pix_fmt": "yuv420p", "container": "matroska"}),
        ("ffv1-16.mkv", {"codec": "ffv1", "pix_fmt": "gray16le", "container": "matroska"}),
        ("huffyuv.avi", {"codec": "huffyuv", "pix_fmt": "yuv422p", "container": "avi"}),
        ("raw.avi", {"codec": "rawvideo", "pix_fmt": "bgr24", "container": "avi"}),
        ("png.mov", {"codec": "png", "pix_fmt": "rgb24", "container": "mov"}),
        ("wmv2.avi", {"codec": "wmv2", "container": "avi"}),
        ("interlaced.mp4", {"options": {"flags": "+ildct+ilme", "x264-params": "tff=1"}}),
        ("intra-refresh.mp4", {"options": {"intra-refresh": "1"}}),
        ("open-gop.mp4", {"options": {"x264-params": "open-gop=1:keyint=12", "bf": "3"}}),
        ("fragmented.mp4", {"muxing": {"movflags": "frag_keyframe+empty_moov"}}),
        ("moov-first.mp4", {}),
        ("fast.mp4", {"fps": 120}),
        ("ntsc.mp4", {"fps": 24}),
        ("half-hour-clock.mp4", {"times": [54000 + i for i in range(FRAMES)]}),
    ]  # fmt: skip
    for number, (name, settings) in enumerate(make):
        frames = window(looks[number % len(looks)], number)
        if not number % 3:
            frames = window(land, number)
        if settings.get("codec") == "mpeg4" or "mpeg" in settings.get("codec", ""):
            frames = frames[:, : frames.shape[1] // 16 * 16, : frames.shape[2] // 16 * 16]
        if settings.get("codec") in ("libsvtav1",):
            frames = frames[:, : frames.shape[1] // 8 * 8, : frames.shape[2] // 8 * 8]
        try:
            data = video(frames, **settings)
        except av.codec.codec.UnknownCodecError:
            continue
        corpus.add(name, data, "well", MEASURED, size=size_of(frames))
    for turns in (1, 2, 3):
        frames = window(tall, turns)
        name = f"turned-{90 * turns}.mp4"
        width, height = size_of(frames)
        path = corpus.expect(
            name, "turned", MEASURED, size=(height, width) if turns % 2 else (width, height)
        )
        path.write_bytes(video(frames))
        turn(path, turns)
    matrix = 40  # where it begins in tkhd
    base = video(window(land, 1))
    corner = 2**16
    half = round(0.7071 * corner)
    for name, numbers in {
        "zeros": [0] * 9,
        "45-degrees": [half, half, 0, -half, half, 0, 0, 0, 2**30],
        "1-degree": [65526, -1144, 0, 1144, 65526, 0, 0, 0, 2**30],
        "mirrored": [-corner, 0, 0, 0, corner, 0, 0, 0, 2**30],
        "huge": [2**31 - 1, -(2**31), 0, 2**31 - 1, 2**31 - 1, 0, 0, 0, 2**30],
    }.items():
        data = patched(base, b"tkhd", (matrix, u32(*numbers)))
        corpus.add(f"matrix-{name}.mp4", data, "turned", MEASURED, size=size_of(land))
    rng = corpus.rng()
    steps = np.cumsum(rng.integers(1, 4, FRAMES)).tolist()
    data = video(window(land, 4), times=steps)
    corpus.add("variable-rate.mp4", data, "variable rate", MEASURED, size=size_of(land))
    uneven = (DROPPED, ("bad_rate", "too_short"))  # played at the file's rate it would be too fast
    slow = [i if i < 50 else i + 100 for i in range(FRAMES)]
    data = video(window(tall, 4), times=slow, container="matroska")
    corpus.add("pause.mkv", data, "variable rate", *uneven)


def sizes(corpus: Corpus, looks: list[np.ndarray]) -> None:
    """Few frames, and pictures that are too small, too thin or too large."""
    land = looks[0]
    short = (DROPPED, ("too_short",))
    for count in (1, 2, 45):
        corpus.add(f"frames-{count}.mp4", video(land[:count]), "too few frames", *short)
    corpus.add("frames-1.mkv", video(land[:1], container="matroska"), "too few frames", *short)
    corpus.add("frames-1.ts.mp4", video(land[:1], container="mpegts"), "too few frames", *short)
    corpus.add("still.avif.mp4", avif(land[0]), "too few frames", *short)
    tiny = np.ascontiguousarray(land[:, 40:56, 60:76])
    corpus.add("16x16.mp4", video(tiny, codec="mpeg4"), "odd size", MEASURED, size=(16, 16))
    thin = (DROPPED, ("bad_size",))
    for width, height in ((15, 15), (1, 1000), (4000, 16), (1000, 1), (2, 2), (300, 18)):
        frames = np.resize(land, (50, height, width, 3))
        data = video(frames, "png", "mov", "rgb24")
        corpus.add(f"{width}x{height}.mov", data, "bad size", *thin)
    odd = np.ascontiguousarray(land[:, :95, :167])
    corpus.add("odd.mov", video(odd, "png", "mov", "rgb24"), "odd size", MEASURED,
               size=(167, 95))  # fmt: skip
    gray = np.full((2, 4320, 7680, 3), 90, np.uint8)
    corpus.add("8k.mp4", video(gray, "mjpeg", pix_fmt="yuvj420p"), "too few frames", *short)
    base = video(land)
    for name, (width, height) in {
        "8k": (7680, 4320), "absurd": (65535, 65535), "zero": (0, 0), "thin": (65535, 1),
    }.items():  # fmt: skip
        data = patched(base, b"tkhd", (76, u32(width << 16, height << 16)))
        data = patched(data, b"stsd", (8 + 32, struct.pack(">HH", width, height)))
        corpus.add(f"header-{name}.mp4", data, "header states another size")
        mpeg4 = video(land[:, :96, :160], codec="mpeg4")
        data = patched(mpeg4, b"stsd", (8 + 32, struct.pack(">HH", width, height)))
        corpus.add(f"header-{name}-mpeg4.mp4", data, "header states another size")
        picture = video(land, codec="mjpeg", pix_fmt="yuvj420p")
        data = patched(picture, b"stsd", (8 + 32, struct.pack(">HH", width, height)))
        at = data.find(b"\xff\xc0\x00\x11\x08")
        while at > 0:  # every frame's own header
            data = data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]
            at = data.find(b"\xff\xc0\x00\x11\x08", at + 1)
        corpus.add(f"header-{name}-mjpeg.mp4", data, "header states another size")
    large = (DROPPED, ("bad_size", "unreadable"))
    corpus.add("bomb-png.mov", png_bomb(land, 16000), "bomb", *large)
    corpus.add("bomb-cmov.mp4", cmov_bomb(1 << 31), "bomb", *BROKEN)
    for number, (first, second) in enumerate(((looks[0], looks[1]), (looks[1], looks[0]))):
        data = video(first[:50], container="mpegts") + video(second[:50], container="mpegts")
        corpus.add(f"size-changes-{number}.mp4", data, "size changes")
    whole, small = video(land), video(land[:, :64, :96])
    whole_boxes, small_boxes = parse(whole), parse(small)
    mdat = next(content for name, content in whole_boxes if name == b"mdat")
    swapped = [[n, small_mdat(small_boxes, mdat) if n == b"mdat" else c] for n, c in whole_boxes]
    corpus.add("size-changes.mp4", joined(swapped), "size changes")


def small_mdat(boxes: list[list], mdat: bytes) -> bytes:
    """The media of another file, at the length of this one."""
    other = next(content for name, content in boxes if name == b"mdat")
    return (other + mdat)[: len(mdat)]


def avif(picture: np.ndarray) -> bytes:
    return video(picture[None, :96, :160], "libsvtav1", "avif", fps=1, options={"preset": "12"})


def zeros_packed(count: int) -> bytes:
    """A zlib stream of `count` zero bytes, in no time: the same block again and again."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    begin = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return begin + again * (count // len(block)) + packer.flush()


def png_bomb(frames: np.ndarray, side: int) -> bytes:
    """A mov whose pictures are PNG of side x side pixels of zeros."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return u32(len(content)) + name + content + u32(checksum)

    header = u32(side, side) + bytes([8, 2, 0, 0, 0])
    packed = zeros_packed(side * (3 * side + 1))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed)
    return repeated(frames, "png", "rgb24", png + chunk(b"IEND", b""), 60, (side, side))


def repeated(
    frames: np.ndarray, codec: str, pix_fmt: str, picture: bytes, count: int, size: tuple[int, int]
) -> bytes:
    """A mov that shows one stored picture `count` times."""
    data = video(frames[:2], codec, "mov", pix_fmt)
    data = patched(data, b"stsd", (8 + 32, struct.pack(">HH", *size)))
    data = edited(data, b"edts", lambda _: None)
    data = edited(data, b"stts", lambda _: u32(0, 1, count, 512))
    data = edited(data, b"stsz", lambda _: u32(0, len(picture), count))
    data = edited(data, b"stsc", lambda _: u32(0, 1, 1, 1, 1))
    lead = len(joined([b for b in parse(data) if b[0] == b"ftyp"])) + 8
    data = edited(data, b"stco", lambda _: u32(0, count, *[lead] * count))
    boxes = {name: content for name, content in parse(data)}
    order = [[b"ftyp", boxes[b"ftyp"]], [b"mdat", picture], [b"moov", boxes[b"moov"]]]
    return joined(order)


def cmov_bomb(size: int) -> bytes:
    """A packed moov that unpacks to `size` bytes."""
    packed = box(b"dcom", b"zlib") + box(b"cmvd", u32(size) + zeros_packed(size))
    return box(b"ftyp", b"qt  " + bytes(8)) + box(b"moov", box(b"cmov", packed))


def damaged(corpus: Corpus, bases: dict[str, bytes]) -> None:
    """Cut off, bits turned, bytes zeroed or swapped, in every container."""
    for name, data in bases.items():
        stem, suffix = os.path.splitext(name)
        shares = (0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99) if "h264" in stem else (0.05, 0.4, 0.8)
        for share in shares:
            cut = data[: int(len(data) * share)]
            corpus.add(f"cut-{stem}-{share}{suffix}", cut, "cut")
        for turned in (1, 4, 30, 400):
            for area in ("anywhere", "head", "tail"):
                rng = corpus.rng()
                broken = bytearray(data)
                end = {"anywhere": len(data), "head": 1200, "tail": 1200}[area]
                for place in rng.integers(0, min(end, len(data)), turned):
                    place = len(data) - 1 - place if area == "tail" else place
                    broken[place] ^= 1 << int(rng.integers(0, 8))
                corpus.add(f"bits-{stem}-{turned}-{area}{suffix}", bytes(broken), "bits")
        for length in (16, 2000):
            rng = corpus.rng()
            at = int(rng.integers(64, len(data) - length))
            zeroed = data[:at] + bytes(length) + data[at + length :]
            corpus.add(f"zeros-{stem}-{length}{suffix}", zeroed, "zeros")
        middle = len(data) // 2
        corpus.add(f"lost-{stem}{suffix}", data[:middle] + data[middle + 700 :], "swapped")
        corpus.add(f"twice-{stem}{suffix}", data + data, "swapped")


def boxes(corpus: Corpus, plain: bytes, land: np.ndarray) -> None:
    """Every box of an mp4 taken out, and values in them that no file should have."""
    for name in sorted({h[p][0] for h, p in walk(parse(plain))} - {b"free", b"ftyp", b"udta"}):
        data = edited(plain, name, lambda _: None)
        corpus.add(f"without-{name.decode()}.mp4", data, "box taken out")
        data = edited(plain, name, lambda content: b"")
        corpus.add(f"empty-{name.decode()}.mp4", data, "box emptied")
    for name in (b"mdhd", b"mvhd"):
        shown = name.decode()
        for scale in (0, 1, 2**31, 2**32 - 1):
            data = patched(plain, name, (12, u32(scale)))
            corpus.add(f"{shown}-timescale-{scale}.mp4", data, "times")
        for duration in (0, 1, 2**31, 2**32 - 1):
            data = patched(plain, name, (16, u32(duration)))
            corpus.add(f"{shown}-duration-{duration}.mp4", data, "times")
    for number, duration in enumerate((2**63 - 1, 2**63, 2**64 - 1, 15360 * 600000)):
        long = lambda c, d=duration: b"\1" + c[1:4] + bytes(16) + c[12:16] + u64(d) + c[20:]  # noqa: E731
        corpus.add(f"duration-long-{number}.mp4", edited(plain, b"mdhd", long), "times")
    for number, pairs in enumerate(
        [[60, 0], [60, 2**31], [60, 2**32 - 1], [1, 512, 59, 0], [59, 512, 1, 2**31 - 1],
         [2**32 - 1, 1], [0, 512], [30, 512, 30, -400], [30, 512, 30, 2**30], [60, 1], [60, 10**6]]
    ):  # fmt: skip
        data = edited(plain, b"stts", lambda _, p=pairs: u32(0, len(p) // 2, *p))
        corpus.add(f"stts-{number}.mp4", data, "times")
    data = edited(plain, b"stts", lambda _: u32(0, 2**32 - 1, 1, 512))
    corpus.add("stts-count.mp4", data, "counts")
    for number, spread in enumerate((600, 20000, 2**30)):
        offsets = corpus.rng().integers(-spread, spread, FRAMES).tolist()
        data = edited(
            plain,
            b"ctts",
            lambda _, o=offsets: u32(1 << 24, FRAMES, *(n for v in o for n in (1, v))),
        )
        corpus.add(f"unordered-{number}.mp4", data, "times")
    for number, entries in enumerate(
        [[(2**31, -1), (2000, 0)], [(2000, 2**31 - 1)], [(0, 0)], [],
         [(200, 25000), (200, 0), (200, 12000)], [(2000, -2)], [(1, i) for i in range(300)],
         [(2000, 15360)], [(500, 10), (500, 10), (500, 10)]]
    ):  # fmt: skip
        edits = u32(0, len(entries))
        edits += b"".join(u32(length, begin, 1 << 16) for length, begin in entries)
        data = edited(plain, b"elst", lambda _, e=edits: e)
        corpus.add(f"edits-{number}.mp4", data, "edit list")
    data = edited(plain, b"elst", lambda _: u32(0, 2**32 - 1, 1000, 0, 0))
    corpus.add("edits-count.mp4", data, "counts")
    for number, content in enumerate(
        [u32(0, 0, 2**32 - 1), u32(0, 2**31, FRAMES), u32(0, 0, FRAMES), u32(0, 1, 2**31 - 1),
         u32(0, 2**32 - 1, 2**32 - 1), u32(0, 40, FRAMES), u32(0, 0, 10, *[2**31 - 1] * 10)]
    ):  # fmt: skip
        corpus.add(f"stsz-{number}.mp4", edited(plain, b"stsz", lambda _, c=content: c), "counts")
    for number, content in enumerate(
        [
            u32(0, 2**32 - 1, 48),
            u32(0, 1, 0),
            u32(0, 1, 2**32 - 1),
            u32(0, 0),
            u32(0, 3, 90, 60, 48),
        ]
    ):
        corpus.add(f"stco-{number}.mp4", edited(plain, b"stco", lambda _, c=content: c), "counts")
    for number, content in enumerate(
        [u32(0, 1, 1, 0, 1), u32(0, 1, 1, 2**32 - 1, 1), u32(0, 1, 0, 60, 1), u32(0, 0),
         u32(0, 2, 5, 10, 1, 1, 10, 1), u32(0, 1, 1, 60, 2**31)]
    ):  # fmt: skip
        corpus.add(f"stsc-{number}.mp4", edited(plain, b"stsc", lambda _, c=content: c), "counts")
    for number, change in enumerate(
        [(4, u32(0)), (4, u32(65535)), (12, b"zzzz"), (12, b"encv"), (12, b"hvc1"), (12, b"av01"),
         (12, b"mp4v"), (12, b"raw "), (12, b"jpeg"), (12, b"rle "), (8, u32(8)), (8, u32(2**31)),
         (90, u32(8)), (102, bytes(30)), (102, b"\xff" * 40)]
    ):  # fmt: skip
        corpus.add(f"codec-{number}.mp4", patched(plain, b"stsd", change), "codec")
    for kind in (b"soun", b"text", b"hint", b"\0\0\0\0", b"meta"):
        data = patched(plain, b"hdlr", (8, kind))
        corpus.add(f"handler-{kind.hex()}.mp4", data, "codec")
    mdat = bytes(corpus.rng().integers(0, 256, 20000, np.uint8))
    hidden = edited(plain, b"mdat", lambda content: mdat[: len(content)].ljust(len(content), b"e"))
    corpus.add("encrypted.mp4", hidden, "codec", *BROKEN)
    boxes_of_any_size(corpus, plain, land)


def boxes_of_any_size(corpus: Corpus, plain: bytes, land: np.ndarray) -> None:
    """Boxes whose size, number or depth is wrong."""
    moov = plain.index(b"moov") - 4
    mdat = plain.index(b"mdat") - 4
    for size in (0, 1, 7, 8, 2**31, 2**32 - 1):
        for name, at in (("mdat", mdat), ("moov", moov), ("ftyp", 0)):
            data = plain[:at] + u32(size) + plain[at + 4 :]
            corpus.add(f"size-{name}-{size}.mp4", data, "box size")
    for size in (0, 8, 2**63 - 1, 2**63, 2**64 - 1):
        data = plain[:moov] + u32(1) + b"free" + u64(size) + plain[moov:]
        corpus.add(f"size-long-{size}.mp4", data, "box size")
    for name in (b"moov", b"trak", b"udta", b"free", b"meta"):
        nested = b"".join(u32(80008 - 8 * i) + name for i in range(10000))
        deep = box(b"ftyp", b"isom" + bytes(8)) + nested
        corpus.add(f"deep-{name.decode()}.mp4", deep + plain[mdat:], "box depth")
    head = box(b"ftyp", b"isom" + bytes(8))
    corpus.add("many-free.mp4", head + box(b"free") * 200_000, "many boxes")
    corpus.add("many-traks.mp4", head + box(b"moov", box(b"trak") * 100_000), "many boxes")
    tree = parse(plain)
    trak = next(joined([h[p]]) for h, p in walk(tree) if h[p][0] == b"trak")
    data = edited(plain, b"moov", lambda content: content + trak * 1500)
    corpus.add("many-streams.mp4", data, "many boxes")
    corpus.add("many-moovs.mp4", plain + plain[moov:] * 100, "many boxes")
    corpus.add("ftyp-alone.mp4", head, "box size", *BROKEN)
    corpus.add("moov-alone.mp4", head + plain[moov:], "box size")
    corpus.add("mdat-alone.mp4", plain[:moov], "box size", *BROKEN)
    pieces = video(land, muxing={"movflags": "frag_keyframe+empty_moov"})
    run = pieces.index(b"trun")
    for number, count in enumerate((0, 2**31, 2**32 - 1)):
        data = pieces[: run + 8] + u32(count) + pieces[run + 12 :]
        corpus.add(f"fragment-{number}.mp4", data, "counts")
    canary = os.fsencode(corpus.canary)
    for name, entry in {
        "url": box(b"url ", u32(0) + b"file://" + canary + b"\0"),
        "http": box(b"url ", u32(0) + f"http://127.0.0.1:{corpus.port}/v.mp4\0".encode()),
        "urn": box(b"urn ", u32(0) + canary + b"\0" + canary + b"\0"),
        "alias": box(b"alis", alias(canary)),
        "cross": box(b"rsrc", alias(canary)),
    }.items():
        data = edited(plain, b"dref", lambda _, e=entry: u32(0, 1) + e)
        corpus.add(f"elsewhere-{name}.mp4", data, "media elsewhere")


def alias(target: bytes) -> bytes:
    """A record of classic Mac OS that names another file."""
    name = target.rsplit(b"/", 1)[-1][:63]
    record = bytes(10) + b"\4disk".ljust(28, b"\0") + bytes(12)
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    record += struct.pack(">hh", 1, 1) + bytes(16)
    target += b"\0" * (len(target) % 2)
    path = struct.pack(">hh", 18, len(target)) + target + struct.pack(">hh", 2, len(target))
    return u32(0) + record + path + target + struct.pack(">hh", -1, 0)


def other_files(corpus: Corpus, plain: bytes) -> None:
    """What is no video at all, and texts that would make a decoder open something else."""
    file, url = f"file://{corpus.canary}", f"http://127.0.0.1:{corpus.port}/x.ts"
    path = str(corpus.canary)
    texts = {
        "empty": b"",
        "one-byte": b"\0",
        "seven-bytes": b"\0\0\0\x20fty",
        "html": b"<!DOCTYPE html><html><body>403 Forbidden</body></html>",
        "json": b'{"error": {"code": 404, "message": "video unavailable"}}' * 50,
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n" * 20,
        "zeros": bytes(5000),
        "noise": bytes(corpus.rng().integers(0, 256, 5000, np.uint8)),
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXTINF:9,\n{file}\n",
        "hls-key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:9,\n{file}\n',
        "hls-bom": f"\ufeff#EXTM3U\n#EXTINF:9,\n{url}\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{path}'\nfile '{url}'\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        f"profiles='urn:mpeg:dash:profile:isoff-live:2011'><BaseURL>{url}</BaseURL></MPD>",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\n"
        f"m=video {corpus.port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "m3u": f"{url}\n{file}\n",
        "pls": f"[playlist]\nFile1={url}\nFile2={file}\nNumberOfEntries=2\n",
        "asx": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
        "xspf": f"<playlist version='1'><trackList><track><location>{url}</location></track>"
        "</trackList></playlist>",
        "smil": f"<smil><body><video src='{file}'/></body></smil>",
        "protocol-concat": f"concat:{path}|{path}",
        "protocol-subfile": f"subfile,,start,0,end,0,,:{path}",
        "protocol-http": url,
        "imf": f"<AssetMap><Path>{path}</Path></AssetMap>",
        "ram": f"rtsp://127.0.0.1:{corpus.port}/x\n",
        "svg": f"<svg xmlns:xlink='x'><image xlink:href='{url}'/></svg>",
        "elf": b"\x7fELF\2\1\1" + bytes(3000),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(600),
        "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(600),
        "gif": video(np.zeros((60, 32, 32, 3), np.uint8), "gif", "gif", "rgb8"),
        "flv": b"FLV\1\1\0\0\0\x09" + bytes(400),
        "asf": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(500),
        "ogg": b"OggS\0\2" + bytes(500),
        "script": b"#!/bin/sh\ntouch x\n",
        "wav": sound_file(),
        "zip": zip_file(plain),
        "hidden-mp4": b"<html>" + plain,
    }
    for name, text in texts.items():
        data = text if isinstance(text, bytes) else text.encode()
        playlist = data[:1] not in (b"", b"\0") and (b"127.0.0.1" in data or b"canary" in data)
        corpus.add(f"{name}.mp4", data, "playlist" if playlist else "no video", *NOT_VIDEO)
    for name in ("hls", "dash", "sdp", "ffconcat"):  # a container by its first bytes, a list inside
        text = texts[name].encode()
        corpus.add(f"both-{name}.mp4", box(b"free", text) + plain, "playlist")
        corpus.add(f"first-{name}.mp4", u32(8) + b"free" + text, "playlist", *BROKEN)
        corpus.add(f"then-{name}.mkv", b"\x1a\x45\xdf\xa3" + text, "playlist", *BROKEN)
        corpus.add(f"then-{name}.mpg", b"\0\0\1\xba" + text, "playlist", *BROKEN)
    for container, codec in (("mp4", "aac"), ("matroska", "aac"), ("mpegts", "aac"),
                             ("webm", "libopus")):  # fmt: skip
        data = audio_only(container, codec)
        corpus.add(f"audio-{container}.mp4", data, "no picture", DROPPED, ("no_video_stream",))
    for name, head in {"matroska": b"\x1a\x45\xdf\xa3", "avi": b"RIFF\xff\xff\xff\xffAVI ",
                       "program": b"\0\0\1\xba"}.items():  # fmt: skip
        for fill in ("zeros", "noise", "ones"):
            noise = corpus.rng().integers(0, 256, 9000, np.uint8)
            body = {"zeros": bytes(9000), "noise": bytes(noise), "ones": b"\xff" * 9000}[fill]
            corpus.add(f"head-{name}-{fill}.mp4", head + body, "head alone", *BROKEN)
    packets = b"".join(b"\x47" + bytes([0x40 | i >> 8, i & 255]) + b"\x10" + bytes(184)
                       for i in range(4000))  # fmt: skip
    corpus.add("head-transport.mp4", packets, "head alone", *BROKEN)


def sound_file() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setparams((1, 2, 8000, 0, "NONE", ""))
        opened.writeframes(bytes(8000))
    return file.getvalue()


def zip_file(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr(zipfile.ZipInfo("v.mp4"), content)
    return file.getvalue()


def long_ones(corpus: Corpus, land: np.ndarray) -> None:
    """More than a span of 60 s, where seeking is easy, hard or impossible."""
    still = np.repeat(land[::2, ::2, ::2], 20, axis=0)[
        :, :48, :80
    ]  # 600 frames, 75 s at 8 a second
    moving = np.stack([np.roll(frame, i % 80, axis=1) for i, frame in enumerate(still)])
    kinds = {
        "long.mp4": ("libx264", "mp4"), "long.mkv": ("libx264", "matroska"),
        "long.avi": ("mpeg4", "avi"), "long.ts.mp4": ("libx264", "mpegts"),
        "long.mpg": ("mpeg1video", "mpeg"),
    }  # fmt: skip
    for name, (codec, container) in kinds.items():
        fps = 25 if container == "mpeg" else 8
        frames = np.concatenate([moving] * 3) if container == "mpeg" else moving
        data = video(frames, codec, container, fps=fps)
        corpus.add(name, data, "long", MEASURED, size=(80, 48))
        if container == "avi":
            without = data[: data.rindex(b"idx1")] + b"JUNK" + data[data.rindex(b"idx1") + 4 :]
            corpus.add("long-without-index.avi", without, "long", MEASURED, size=(80, 48))
        if container == "matroska":
            at = data.rindex(b"\x1c\x53\xbb\x6b")
            without = data[:at] + b"\xec" + bytes([0x40, 0]) + data[at + 3 :]
            corpus.add("long-without-cues.mkv", data[:at], "long", MEASURED, size=(80, 48))
            corpus.add("long-broken-cues.mkv", without, "long", size=None)
        if container == "mp4":
            corpus.add("long-sync.mp4", edited(data, b"stss", lambda _: u32(0, 1, 1)), "long",
                       MEASURED, size=(80, 48))  # fmt: skip
            corpus.add("long-no-sync.mp4", edited(data, b"stss", lambda _: u32(0, 0)), "long")
    half = video(moving[:300], container="mpegts", fps=8)
    late = half + audio_only("mpegts", "aac")
    corpus.add("stream-begins-late.mp4", late, "long")
    corpus.add("clock-restarts.mp4", half + half, "times")
    gap = [i if i < 100 else i + 1000 for i in range(200)]
    uneven = (DROPPED, ("bad_rate", "too_short"))
    corpus.add("gap.mp4", video(moving[:200], fps=8, times=gap), "variable rate", *uneven)
    late = [i if i < 3 else i + 700 for i in range(200)]
    data = video(moving[:200], fps=8, times=late, container="matroska")
    corpus.add("late.mkv", data, "variable rate", MEASURED, size=(80, 48))
    week = edited(video(moving[:100], fps=8), b"stts", lambda _: u32(0, 2, 99, 2048, 1, 2**31 - 1))
    corpus.add("one-frame-lasts-days.mp4", week, "times")


def names(corpus: Corpus, looks: list[np.ndarray]) -> None:
    """Names that shells, formats and file systems trip over, on files that are well."""
    plain = video(window(looks[0], 5))
    well = (MEASURED, ())
    bad = (DROPPED, ("bad_name",))
    for name, outcome in {
        "with space.mp4": well, " leading.mp4": well, "'quote'.mp4": well, '"double".mp4': well,
        "back\\slash.mp4": (ANY, ()), "new\nline.mp4": bad, "tab\tulator.mp4": bad,
        "bell\a.mp4": bad, "🎬🐕.mp4": well, "\u202egnp.mp4": (ANY, ()), "ünïcødé.mp4": well,
        "u\u0308.mp4": well, "\u00fc.mp4": well, "漢字.mp4": well, "..mp4": well, "...mp4": well,
        ".hidden.mp4": (ANY, ()), "-dash.mp4": well, "--help.mp4": well, "100%.mp4": well,
        "%s%n%d.mp4": well, "%03d.mp4": well, "$(touch x).mp4": well, "`touch x`.mp4": well,
        "; touch x;.mp4": well, "a|touch x.mp4": well, "&touch x.mp4": well, "*.mp4": well,
        "?.mp4": well, "[a-z].mp4": well, "{a,b}.mp4": well, "~.mp4": well, "#.mp4": well,
        "=1+1.mp4": well, "<script>.mp4": well, "n" * 200 + ".mp4": well,
        "dot.mp4.": well, "space.mp4 ": well, "Case.mp4": well, "case.mp4": well, "CASE.MP4": well,
        "http:example.mp4": well, "file:x.mp4": well, "concat:x.mp4": well, "pipe:0.mp4": well,
        "crypto:x.mp4": well, "no-suffix": well, "NUL.mp4": well, "a=b.mp4": well, "😀" * 50: well,
        "null.mp4": well, "none": well, "1e5.mp4": well, "a,b;c.mp4": well, "${x}.mp4": well,
    }.items():  # fmt: skip
        size = size_of(looks[0]) if outcome is well else None
        corpus.add(name, plain + box(b"free", name.encode()), "name", *outcome, size=size)
    for raw in (b"latin-\xe9.mp4", b"\xff\xfe.mp4", b"half-\xed\xa0\x80.mp4"):
        corpus.add(raw, plain, "name", *bad)


def places(corpus: Corpus, looks: list[np.ndarray]) -> None:
    """Links, pipes, folders and other things that are not plain files."""
    plain = video(window(looks[1], 6))
    corpus.add("target.mp4", plain, "link", MEASURED, size=size_of(looks[1]))
    outside = (DROPPED, ("bad_path",))
    corpus.expect("link-inside.mp4", "link", MEASURED).symlink_to("target.mp4")
    corpus.expect("link-outside.mp4", "link", *outside).symlink_to(corpus.canary)
    up = os.path.relpath(corpus.canary, corpus.folder)
    corpus.expect("link-up.mp4", "link", *outside).symlink_to(up)
    corpus.expect("link-device.mp4", "link", *outside).symlink_to("/dev/zero")
    corpus.expect("link-proc.mp4", "link", *outside).symlink_to("/proc/self/mem")
    corpus.expect("link-nothing.mp4", "link", DROPPED, ("bad_path", "missing")).symlink_to("gone")
    corpus.expect("link-loop.mp4", "link", DROPPED, ("bad_path", "missing")).symlink_to(
        "link-loop.mp4"
    )
    corpus.expect("link-folder.mp4", "place", UNLISTED).symlink_to(corpus.canary.parent)
    os.link(corpus.folder / "target.mp4", corpus.expect("hard-link.mp4", "link", MEASURED))
    os.mkfifo(corpus.expect("pipe.mp4", "place", UNLISTED))
    corpus.expect("link-pipe.mp4", "place").symlink_to("pipe.mp4")
    corpus.expect("folder.mp4", "place", UNLISTED).mkdir()
    (corpus.folder / "a" / "b.mp4").mkdir(parents=True)
    corpus.add("a/b.mp4/c.mp4", plain, "place", MEASURED, size=size_of(looks[1]))
    corpus.add("no-rights.mp4", plain, "place")
    (corpus.folder / "no-rights.mp4").chmod(0)


def endless(corpus: Corpus, land: np.ndarray) -> None:
    """A small file that takes a decoder hours: one large picture, shown again and again."""
    picture = io.BytesIO()
    with av.open(picture, "w", format="mjpeg") as opened:
        stream = opened.add_stream("mjpeg", FPS)
        stream.width, stream.height, stream.pix_fmt = 7680, 4320, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.full((4320, 7680), 90, np.uint8), format="gray")
        opened.mux(stream.encode(frame.reformat(format="yuvj420p")))
        opened.mux(stream.encode())
    lasting = u32(0, 20000) + u32(2000, 0, 1 << 16) * 20000  # it is shown 20000 times
    data = edited(video(land), b"elst", lambda _: lasting)
    corpus.add("endless.mp4", data, "endless", DROPPED, ("timeout",))
    data = repeated(land, "mjpeg", "yuvj420p", picture.getvalue(), 20000, (7680, 4320))
    corpus.add("endless.mov", data, "endless", DROPPED, ("timeout",))


def make_corpus(folder: Path, sources: list[Path], canary: Path, port: int) -> dict[str, Expected]:
    """Write the files into `folder`; return what must come of each.

    `canary` is a file that nothing may open and `port` one that nothing may call; some of the files
    ask for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(folder, canary, port)
    looks = scenes(sources)
    land = looks[0]
    plain = video(land, options={"bf": "2"})
    good_ones(corpus, looks)
    sizes(corpus, looks)
    first = moov_first(folder, land)
    damaged(
        corpus,
        {
            "h264-moov-last.mp4": plain,
            "h264-moov-first.mp4": first,
            "matroska.mkv": video(window(land, 2), container="matroska"),
            "transport.mp4": video(window(land, 3), container="mpegts"),
            "hevc.mp4": (folder / "hevc.mp4").read_bytes(),
            "vp9.webm": (folder / "vp9.webm").read_bytes(),
            "avi.avi": (folder / "mpeg4.avi").read_bytes(),
            "program.mpg": (folder / "mpeg2.mpg").read_bytes(),
        },
    )
    boxes(corpus, plain, land)
    other_files(corpus, plain)
    long_ones(corpus, land)
    names(corpus, looks)
    places(corpus, looks)
    endless(corpus, land)
    return corpus.expected


def moov_first(folder: Path, frames: np.ndarray) -> bytes:
    """As plain, with the index at the beginning."""
    path = folder / ".moov-first.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as opened:
        stream = opened.add_stream("libx264", FPS, options={"preset": "ultrafast", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            opened.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        opened.mux(stream.encode())
    data = path.read_bytes()
    path.unlink()
    return data
