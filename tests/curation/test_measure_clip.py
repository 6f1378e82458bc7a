"""Alignment and aesthetic score against OpenCLIP itself, on tiny random weights."""

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch

from curation.measures import aesthetic, alignment, clip_model
from curation.measures.aesthetic import AestheticSettings
from curation.measures.alignment import AlignmentSettings
from dynamicrafter.features import MissingWeights
from tests.curation.footage import footage
from tests.features.tiny_clip import NAME, make_tiny_clip

CAPTION = "a dog runs"
FRAMES = np.random.default_rng(0).integers(0, 256, (15, 32, 32, 3), np.uint8)
CHOSEN = [0, 2, 4, 6, 8, 10, 12, 14]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    model = make_tiny_clip(folder)
    head = {"weight": torch.randn(1, 16), "bias": torch.tensor([5.0])}
    torch.save(head, folder / "head.pth")
    safetensors.torch.save_file(head, folder / "head.safetensors")
    return model, folder, head


@pytest.fixture(scope="module")
def images(tiny):
    """The embeddings of the chosen frames as OpenCLIP gives them: float32 [8, 16], length 1."""
    model = tiny[0]
    mean, std = torch.tensor(model.visual.image_mean), torch.tensor(model.visual.image_std)
    pixels = ((torch.from_numpy(FRAMES[CHOSEN]) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return model.encode_image(pixels, normalize=True).numpy()


def alignment_settings(folder, frames=8):
    return AlignmentSettings(str(folder / "tiny.safetensors"), NAME, frames, "cpu")


def aesthetic_settings(folder, head="head.pth"):
    return AestheticSettings(
        str(folder / "tiny.safetensors"), NAME, str(folder / head), frames=8, device="cpu"
    )


def test_alignment_is_the_cosine_of_caption_and_frames(tiny, images):
    model, folder, _ = tiny
    with torch.inference_mode():
        words = model.encode_text(open_clip.get_tokenizer(NAME)([CAPTION]), normalize=True).numpy()
    cosines = (images @ words[0]).tolist()
    values = alignment.MEASURE.compute(footage(FRAMES, CAPTION), alignment_settings(folder))
    assert values == {
        "clip_alignment": pytest.approx(np.mean(cosines), abs=1e-5),
        "clip_alignment_first": pytest.approx(cosines[0], abs=1e-5),
    }
    one = alignment.MEASURE.compute(footage(FRAMES, CAPTION), alignment_settings(folder, frames=1))
    assert one["clip_alignment"] == pytest.approx(cosines[0], abs=1e-5)


def test_an_unknown_caption_has_no_alignment(tiny):
    values = alignment.MEASURE.compute(footage(FRAMES, "none"), alignment_settings(tiny[1]))
    assert values == {"clip_alignment": None, "clip_alignment_first": None}


@pytest.mark.parametrize("file", ["head.pth", "head.safetensors"])
def test_aesthetic_score_is_the_head_over_the_normalised_embedding(tiny, images, file):
    _, folder, head = tiny
    expected = (images @ head["weight"][0].numpy() + 5.0).mean()
    values = aesthetic.MEASURE.compute(footage(FRAMES), aesthetic_settings(folder, file))
    assert values == {"aesthetic": pytest.approx(expected, abs=1e-4)}


def test_the_same_frames_are_embedded_once_and_others_again(tiny, monkeypatch):
    folder = tiny[1]
    clip = clip_model.load(str(folder / "tiny.safetensors"), NAME, "cpu")
    embedded = []
    original = clip.images
    monkeypatch.setattr(clip, "images", lambda video: embedded.append(1) or original(video))
    clip_model._last.clear()
    for frames in (FRAMES, FRAMES, FRAMES[::-1], FRAMES[::-1]):
        alignment.MEASURE.compute(footage(frames, CAPTION), alignment_settings(folder))
        aesthetic.MEASURE.compute(footage(frames, CAPTION), aesthetic_settings(folder))
    assert len(embedded) == 2


def test_digests_follow_the_files(tiny, tmp_path):
    folder = tiny[1]
    measures = [
        alignment.MEASURE.weights(alignment_settings(folder)),
        aesthetic.MEASURE.weights(aesthetic_settings(folder)),
        aesthetic.MEASURE.weights(aesthetic_settings(folder, "head.safetensors")),
    ]
    assert len(set(measures)) == 3
    file = tmp_path / "weights"
    digests = []
    for content in (b"one", b"other"):
        file.write_bytes(content)
        digests.append(clip_model.digest(str(file)))
    assert digests[0] == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert digests[1] != digests[0]


def test_absent_weights_are_told_by_the_setting_that_names_them(tiny):
    folder = tiny[1]
    none = AlignmentSettings(None, NAME, 8, "cpu")
    assert alignment.MEASURE.absent(none) == (
        "no weights are given; set measures.alignment.checkpoint"
    )
    gone = AlignmentSettings(str(folder / "gone"), NAME, 8, "cpu")
    assert alignment.MEASURE.absent(gone).startswith(f"there is no file {folder}/gone; set")
    assert alignment.MEASURE.absent(alignment_settings(folder)) == ""
    assert aesthetic.MEASURE.absent(aesthetic_settings(folder)) == ""
    headless = aesthetic.MEASURE.absent(aesthetic_settings(folder, "gone"))
    assert headless.endswith("set measures.aesthetic.head")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"weight": torch.ones(1, 16)}, "bias"),
        ({"weight": torch.ones(2, 16), "bias": torch.ones(1)}, r"weight \(2, 16\)"),
        ({"weight": torch.ones(1, 8), "bias": torch.ones(1)}, "is a head over 8 values, .* 16"),
        ({"weight": print, "bias": torch.ones(1)}, "holds no weight"),
        ([1, 2], "holds no weight"),
    ],
)
def test_a_head_of_another_form_is_refused(tiny, tmp_path, content, reason):
    path = tmp_path / "head.pth"
    torch.save(content, path)
    with pytest.raises(MissingWeights, match=reason):
        aesthetic.MEASURE.compute(footage(FRAMES), aesthetic_settings(tiny[1], path))


@pytest.mark.parametrize("name", ["head.pth", "head.safetensors"])
def test_a_broken_head_is_one_line(tiny, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"nothing" * 50)
    with pytest.raises(MissingWeights, match=r"holds no weight \[1, d\] and bias \[1\]"):
        aesthetic.MEASURE.compute(footage(FRAMES), aesthetic_settings(tiny[1], path))
