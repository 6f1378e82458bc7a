"""Text in the picture, and the watermarks of stock agencies, as RapidOCR reads them.

Text counts as static where it keeps its place in all frames looked at. That tells titles, logos and
watermarks from the writing on what moves; a sign that a resting camera sees is static all the same.
Whatever is read comes out of somebody's video: it is hostile text, and only ever data.
"""

import functools
import importlib.util
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation.measures.contract import Column, Footage, Measure
from dynamicrafter.files import sha256_file, sha256_json

PACKAGE = "rapidocr_onnxruntime"

POSITIONS = (0.1, 0.5, 0.9)
"""Where in the shot the frames lie that are read."""

AVERAGED = 16
"""Frames of the average picture, where what moves fades and a faint watermark stays."""

MIN_SIGNS = 2
"""Letters and digits of a text; a lone one is mostly a pattern that looks like it."""

STATIC_COVER = 0.7
"""Share of a text box that text must cover in each other frame: boxes are drawn a pixel off."""

MAX_TEXT = 500
"""Characters."""

WATERMARKS = (
    *("123rf", "adobe stock", "agefotostock", "alamy", "artgrid", "artlist", "bigstock"),
    *("bigstockphoto", "canstockphoto", "clipcanvas", "colourbox", "corbis", "depositphotos"),
    *("dreamstime", "envato", "eyeem", "featurepics", "filmsupply", "fotolia", "freepik"),
    *("getty images", "istock", "istockphoto", "mixkit", "motionarray", "motionelements"),
    *("newsflare", "pexels", "photodune", "pixabay", "pond5", "revostock", "shutterstock"),
    *("stocksy", "storyblocks", "storyful", "thinkstock", "vecteezy", "vectorstock"),
    *("videoblocks", "videohive", "videvo", "viralhog", "yayimages"),
)
"""Names that stock and news agencies lay over their previews."""

_ALIKE = str.maketrans("i1|0", "lllo")  # what looks alike in small type


@dataclass(frozen=True)
class TextSettings:
    """`text` of conf/measures, where each setting is explained."""

    detect_short_side: int
    min_confidence: float


@dataclass(frozen=True)
class Reading:
    """A line of text in a picture."""

    box: np.ndarray  # float32 [4, 2], corners (x, y) in pixels
    text: str


def read(picture: np.ndarray, settings: TextSettings) -> list[Reading]:
    """The lines of text in a picture (uint8 RGB [h, w, 3]), from top to bottom."""
    bgr = np.ascontiguousarray(picture[..., ::-1])
    found, _ = _engine(settings.detect_short_side)(bgr, use_cls=False)
    return [
        Reading(np.array(box, np.float32), text)
        for box, text, confidence in found or []
        if confidence >= settings.min_confidence and sum(map(str.isalnum, text)) >= MIN_SIGNS
    ]


def covered(readings: Iterable[Reading], shape: tuple[int, int]) -> np.ndarray:
    """The pixels that text boxes cover: bool [h, w]."""
    import cv2

    mask = np.zeros(shape, np.uint8)
    for reading in readings:
        cv2.fillPoly(mask, [reading.box.round().astype(np.int32)], 1)
    return mask.astype(bool)


def static(readings: Iterable[Reading], others: Sequence[np.ndarray]) -> list[Reading]:
    """Those of `readings` whose place text covers in all `others` (bool [h, w]) too."""

    def stays(reading: Reading) -> bool:
        box = covered([reading], others[0].shape)
        return all(np.mean(other[box]) >= STATIC_COVER for other in others) if box.any() else False

    return [reading for reading in readings if stays(reading)]


def clean(texts: Iterable[str]) -> str | None:
    """Texts in one line, without control and format characters; None if nothing is left."""
    line = " ".join(" ".join(texts).split())
    kept = "".join(sign for sign in line if unicodedata.category(sign)[0] != "C")
    return kept[:MAX_TEXT].strip() or None


def names_watermark(texts: Sequence[str]) -> bool:
    """Whether the texts of a picture name a stock agency, perhaps with a few letters misread.

    One wrong letter is allowed in names of 11 letters, two in longer ones, and these may be parted
    or have more before and after them. Shorter names must stand there as they are, as words.
    """
    words = re.findall(r"[^\W_]+", _fold(" ".join(texts)))
    run, line = "".join(words), f" {' '.join(words)} "
    for name in map(_fold, WATERMARKS):
        joined = name.replace(" ", "")
        errors = max(0, min(2, len(joined) - 10))
        if any(f" {form} " in line for form in (name, joined)):
            return True
        if errors and _contains(run, joined, errors):
            return True
    return False


def _fold(text: str) -> str:
    return text.casefold().translate(_ALIKE)


def _contains(text: str, name: str, errors: int) -> bool:
    """Whether a part of `text` lies within `errors` edits of `name` (Sellers' algorithm)."""
    bounds = [len(name) * i // (errors + 1) for i in range(errors + 2)]
    pieces = [name[a:b] for a, b in itertools.pairwise(bounds)]
    if not any(piece in text for piece in pieces):  # each of them holds an error: too many
        return False
    column = list(range(len(name) + 1))  # edits from name[:i] to the best part that ends here
    for letter in text:
        above, column[0] = column[0], 0
        for i, expected in enumerate(name, 1):
            diagonal = above + (letter != expected)
            above = column[i]
            column[i] = min(diagonal, above + 1, column[i - 1] + 1)
        if column[-1] <= errors:
            return True
    return False


@functools.cache
def _engine(detect_short_side: int):
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(
        det_limit_side_len=detect_short_side,
        det_limit_type="min",
        intra_op_num_threads=1,
        inter_op_num_threads=1,
    )


def measure(footage: Footage, settings: TextSettings) -> dict[str, Any]:
    """Text in three frames and in the average of the shot."""
    frames = footage.frames
    shape = frames[0].shape[:2]
    read_of = [read(frames[int(p * len(frames))], settings) for p in POSITIONS]
    masks = [covered(readings, shape) for readings in read_of]
    middle = read_of[1]
    chosen = np.linspace(0, len(frames) - 1, min(AVERAGED, len(frames))).round().astype(int)
    average = np.mean([frames[i] for i in chosen], axis=0).round().astype(np.uint8)
    pictures = [*read_of, read(average, settings)]
    return {
        "text_share": float(np.mean(masks)),
        "text": clean(reading.text for reading in middle),
        "static_text_share": float(covered(static(middle, masks[::2]), shape).mean()),
        "watermark": any(names_watermark([r.text for r in picture]) for picture in pictures),
    }


def _absent(settings: TextSettings) -> str:
    if importlib.util.find_spec(PACKAGE) is not None:
        return ""
    return (
        "rapidocr-onnxruntime is not installed; run: pip install 'rapidocr-onnxruntime>=1.4.4,<2' "
        "&& pip install --force-reinstall --no-deps opencv-python-headless"
    )


@functools.cache
def _models_digest() -> str:
    """Digest of the networks, which lie in the package."""
    spec = importlib.util.find_spec(PACKAGE)
    models = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.onnx"))
    return sha256_json({model.name: sha256_file(model) for model in models})


MEASURE = Measure(
    name="text",
    version=1,
    columns={
        "text_share": Column("share of the picture under text, mean of three frames"),
        "text": Column("text of the middle frame, as recognised", "text"),
        "static_text_share": Column("share of the picture under text that keeps its place"),
        "watermark": Column("names a stock agency", "flag"),
    },
    compute=measure,
    settings=TextSettings,
    absent=_absent,
    weights=lambda settings: _models_digest(),
)
