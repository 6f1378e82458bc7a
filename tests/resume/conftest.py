"""The shards of the trainer's tests."""

from tests.train.conftest import shards  # noqa: F401 - a fixture
