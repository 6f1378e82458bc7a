"""What is no video, what has a strange name or lies in a strange place, what never ends."""

import io
import os
import wave
import zipfile

import av
import numpy as np

from tests.curation.hostile.corpus import (
    ANY,
    BROKEN,
    DROPPED,
    MEASURED,
    NOT_VIDEO,
    UNLISTED,
    Corpus,
)
from tests.curation.hostile.encoding import FPS, audio_only, size_of, video, window
from tests.curation.hostile.mp4_boxes import box, edited, u32
from tests.curation.hostile.sizes import repeated


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
