"""Files that were cut off, flipped, or state what is not so."""

import os
import struct

import numpy as np

from tests.curation.hostile.corpus import BROKEN, Corpus
from tests.curation.hostile.encoding import FRAMES, video
from tests.curation.hostile.mp4_boxes import box, edited, joined, parse, patched, u32, u64, walk


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
