"""What the tests of stopping and going on share."""

import pytest

from tests.resume.in_process import train_here
from tests.train.conftest import shards  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def undisturbed(shards, tmp_path_factory):  # noqa: F811 - a fixture
    """A run that nobody disturbs, as `train_here` makes it."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert train_here(shards, folder) == 0
    return folder


@pytest.fixture
def folder(tmp_path):
    """Where a run goes."""
    return tmp_path / "run"
