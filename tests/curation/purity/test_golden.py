"""The gate on the golden pairs that it may be developed on."""

from pathlib import Path

import pytest

from tests.curation.purity.measure_gate import Judged, judged, precision, read, recall, report

DEV = Path(__file__).parents[2] / "golden/purity/dev.jsonl"


def test_precision_and_recall_on_the_golden_pairs():
    found = judged(read(DEV))
    assert len(found) >= 200
    exact, full = precision(found), recall(found)
    assert exact is not None
    assert full is not None
    assert exact.value >= 0.95
    assert full.value >= 0.95
    assert exact.low >= 0.9
    assert full.low >= 0.9


def test_the_report_lists_every_miss():
    verdict = judged([{"wording": "Dog running."}])[0].verdict
    pair = {"id": "x-1", "kind": "plain", "pure": False, "offending": [], "note": "why <not>"}
    right = {**pair, "id": "x-2", "pure": True, "wording": "Dog running."}
    text = report([Judged({**pair, "wording": "Dog running."}, verdict), Judged(right, verdict)])
    assert "x-1" in text
    assert "x-2" not in text
    assert "Passed, yet impure: 1" in text
    # one of two that pass is pure; Wilson's interval of 1/2 is 0.0945 … 0.9055
    assert "0.500 [0.095, 0.905]" in text


def test_nothing_passes_nothing_to_divide_by():
    assert precision([]) is None
    assert recall([]) is None


@pytest.mark.parametrize("name", ["motion_verbs", "subjects", "places", "appearance", "foreign"])
def test_the_lists_are_wide(name):
    from curation.purity.lexicon import listed

    assert len(listed(name)) > 400
