import os

import pytest

from tests.eval.benchmarks import layouts


@pytest.fixture(autouse=True)
def nobody_waits_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def ucf(tmp_path_factory):
    return layouts.ucf101(tmp_path_factory.mktemp("ucf"))


@pytest.fixture(scope="session")
def msrvtt(tmp_path_factory):
    """A root by layout."""
    place = tmp_path_factory.mktemp("msrvtt")
    return {name: layouts.msrvtt(place / name, name) for name in ("official", "merged", "flat")}
