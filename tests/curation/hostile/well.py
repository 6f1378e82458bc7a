"""Files that are well and must be measured: codecs, pixel formats, containers, turns."""

import av
import numpy as np

from tests.curation.hostile.corpus import DROPPED, MEASURED, Corpus
from tests.curation.hostile.encoding import FRAMES, size_of, video, window
from tests.curation.hostile.mp4_boxes import patched, u32
from tests.media.clips import turn

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
