import cv2
import numpy as np
import pytest

from curation.measures import text
from curation.measures.text import Reading, TextSettings, clean, covered, names_watermark, static
from tests.curation.footage import demo_footage, footage, texture

SETTINGS = TextSettings(detect_short_side=448, min_confidence=0.5)
needs_ocr = pytest.mark.skipif(
    bool(text.MEASURE.absent(SETTINGS)), reason=text.MEASURE.absent(SETTINGS)
)


def box(left, top, right, bottom):
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return Reading(np.array(corners, np.float32), "text")


def write(frame, words, place, scale=1.0, opacity=1.0):
    over = frame.copy()
    cv2.putText(over, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 2)
    return cv2.addWeighted(over, opacity, frame, 1 - opacity, 0)


def measured(frames):
    return text.MEASURE.compute(footage(frames), SETTINGS)


@pytest.mark.parametrize(
    "texts",
    [
        ["shutterstock"],
        ["a dog", "SHUTTERST0CK"],
        ["www.shuttrstock.com/video"],
        ["shutter", "stock"],
        ["snutterstcck"],
        ["iStock", "by Getty Images"],
        ["lstock"],
        ["POND5.com"],
        ["Adobe Stock | #1234"],
        ["gettyimaqes"],
        ["123RF"],
        ["©alamy stock photo"],
        ["depositohotos"],
    ],
)
def test_names_of_agencies(texts):
    assert names_watermark(texts)


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["a pond", "5 ducks"],
        ["stock market", "shutters"],
        ["the artist"],
        ["in stock now"],
        ["images of getty"],
        ["dream time"],
        ["123"],
        ["misty forest, envatos"],
        ["big stock clearance"],
        ["a story fully told"],
    ],
)
def test_other_words_are_no_watermark(texts):
    assert not names_watermark(texts)


def test_clean_keeps_one_line_of_visible_text():
    assert clean(["a\x1b[31m b\n", "c\u202ed\x00"]) == "a[31m b cd"
    assert clean(["x" * 499, "yz"]) == "x" * 499
    assert len(clean(["word "] * 400)) <= 500
    assert clean(["\u200b", " "]) is None
    assert clean([]) is None


def test_covered_counts_overlapping_boxes_once():
    mask = covered([box(10, 10, 29, 19), box(20, 10, 39, 19)], (50, 100))
    assert mask.sum() == 30 * 10
    assert covered([], (4, 6)).sum() == 0


def test_static_boxes_are_covered_in_every_other_frame():
    here, moving = box(10, 10, 49, 19), box(60, 30, 89, 39)
    shifted = covered([box(11, 10, 50, 20)], (50, 100))
    elsewhere = covered([box(10, 10, 49, 19), box(60, 10, 89, 19)], (50, 100))
    assert static([here, moving], [shifted, elsewhere]) == [here]
    assert static([here], [shifted, covered([], (50, 100))]) == []


def test_the_reason_why_there_is_no_text(monkeypatch):
    monkeypatch.setattr(text, "PACKAGE", "no_such_package")
    assert "rapidocr-onnxruntime is not installed; run: pip" in text.MEASURE.absent(SETTINGS)


@needs_ocr
def test_a_caption_that_stays_and_a_sign_that_passes():
    frames = []
    for i in range(10):
        frame = write(texture(2, (256, 448)), "BREAKING NEWS", (20, 240))
        frames.append(write(frame, "BAKERY", (20 + 25 * i, 60)))
    values = measured(frames)
    assert set(values) == set(text.MEASURE.columns)
    assert values["text"] == "BAKERY BREAKING NEWS"
    (width, height), below = cv2.getTextSize("BREAKING NEWS", cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)
    news = width * (height + below) / (256 * 448)
    assert news * 0.7 < values["static_text_share"] < news * 1.5
    assert values["text_share"] > values["static_text_share"] * 1.3
    assert values["watermark"] is False


@needs_ocr
def test_a_picture_without_text():
    values = measured([texture(seed, (256, 448)) for seed in range(4)])
    assert values == {
        "text_share": 0.0,
        "text": None,
        "static_text_share": 0.0,
        "watermark": False,
    }


@needs_ocr
@pytest.mark.network
def test_a_watermark_on_a_real_clip():
    clean_clip = demo_footage("sports2d")
    values = text.MEASURE.compute(clean_clip, SETTINGS)
    assert values["watermark"] is False
    assert values["text_share"] == 0.0
    marked = [write(f, "shutterstock", (130, 140), opacity=0.5) for f in clean_clip.frames]
    values = measured(marked)
    assert values["watermark"] is True
    assert values["text"] == "shutterstock"
    assert 0.02 < values["static_text_share"] < 0.12
