"""Purity and decoupling against sums done by hand."""

import pytest

from curation.purity.lexicon import lexicon_digest
from curation.purity.score import decoupling, motion_lemmas, purity, subject_of


def test_purity_of_motion_alone_is_one():
    found = purity("Dog running.")
    assert found.value == pytest.approx(1.0)
    assert (found.words, found.content) == (2, 2)
    assert found.density == pytest.approx(0.5)


def test_purity_falls_with_thin_motion():
    # man, tighten, bolt, wrench: MD = 1/4, so P = 0.25 / 0.34
    assert purity("Man tightening a bolt with a wrench.").value == pytest.approx(0.25 / 0.34)


def test_purity_falls_with_leaks_and_camera():
    # red (looks), dog, run, park (scene): L = 2/4, MD = 1/4
    found = purity("Red dog running in a park.")
    assert found.leakage == pytest.approx(0.5)
    assert found.value == pytest.approx(0.5 * 0.25 / 0.34)
    # camera, follow (camera), dog, run: K = 2/4, MD = 1/4
    found = purity("Camera following dog running.")
    assert found.camera == pytest.approx(0.5)
    assert found.value == pytest.approx(0.5 * 0.25 / 0.34)


@pytest.mark.parametrize("text", ["", "none", "the of and", "Blue sky."])
def test_no_motion_no_purity(text):
    assert purity(text).value == 0


def test_decoupling_of_a_caption_that_lost_half_its_scene():
    # leaks of the original: young, beach, sunset; one is left. Motions: run, wave; one is kept.
    found = decoupling(
        "Young man running and waving on the beach at sunset", "Man running on beach."
    )
    assert found.removal == pytest.approx(2 / 3)
    assert found.kept == pytest.approx(1 / 2)
    assert found.score == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    assert found.novel == 0


def test_what_the_original_does_not_name_is_novel():
    found = decoupling("Man on the beach", "Man running and waving.")
    assert (found.removal, found.kept, found.score, found.novel) == (1.0, None, None, 1.0)
    assert decoupling("Dog running", "Dog.").novel is None


def test_lemmas_of_motion_and_the_subject():
    assert motion_lemmas("Two men doing push-ups and jumping.") == ["push-up", "jump"]
    assert subject_of("Two men doing push-ups.") == "man"
    assert subject_of("The dog's tail wagging.") == "tail"
    assert subject_of("Running.") == "none"


def test_the_digest_is_that_of_the_lists(tmp_path, monkeypatch):
    from curation.purity import lexicon

    before = lexicon_digest()
    assert len(before) == 16
    for path in lexicon.FOLDER.glob("*.txt"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(lexicon, "FOLDER", tmp_path)
    assert lexicon.lexicon_digest.__wrapped__() == before
    with (tmp_path / "subjects.txt").open("a") as file:
        file.write("gnu\n")
    assert lexicon.lexicon_digest.__wrapped__() != before
