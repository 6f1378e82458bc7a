"""Hundreds of files that are broken, strange or made to harm, all derived from a few real clips.

Each file has a number that seeds whatever is random about it, so equal sources give equal files.
What must come of a file is only stated where it is certain.
"""

from pathlib import Path

from tests.curation.hostile.corpus import Corpus, Expected
from tests.curation.hostile.damage import boxes, damaged
from tests.curation.hostile.encoding import moov_first, scenes, video, window
from tests.curation.hostile.lasting import long_ones
from tests.curation.hostile.sizes import sizes
from tests.curation.hostile.strange import endless, names, other_files, places
from tests.curation.hostile.well import good_ones


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
