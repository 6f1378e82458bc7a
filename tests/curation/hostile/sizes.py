"""Few frames, pictures of odd sizes, small files that unpack to large ones."""

import struct
import zlib

import numpy as np

from tests.curation.hostile.corpus import BROKEN, DROPPED, MEASURED, Corpus
from tests.curation.hostile.encoding import video
from tests.curation.hostile.mp4_boxes import box, edited, joined, parse, patched, u32


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
