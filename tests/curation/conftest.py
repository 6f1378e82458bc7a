"""Runs that several test modules look at."""

import contextlib
import os
import shutil

import cv2
import numpy as np
import pytest

from curation import pipeline
from tests.curation import films as film
from tests.curation import packs
from tests.media.clips import numbered_frames, write_video


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    frames = np.stack([f for n, name in enumerate(film.SCENES) for f in film.scene(name, n)])
    write_video(folder / "film.mp4", frames, fps=film.FPS)
    (folder / "page.mp4").write_text("<html>403 Forbidden</html>")
    return folder


@pytest.fixture
def inline(monkeypatch):
    """The engine of the test, without processes; nobody waits for the disk.

    Its calls run on one thread, as in a worker process.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    engine = film.Inline()
    monkeypatch.setattr(
        pipeline, "open_engine", lambda settings, seat: contextlib.nullcontext(engine)
    )
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    yield engine
    cv2.setNumThreads(threads)


@pytest.fixture(scope="session")
def curated(films, tmp_path_factory):
    """The run of two worker processes that others are compared with."""
    folder = tmp_path_factory.mktemp("run") / "two"
    return folder, film.curate(folder, films, "workers=2")


@pytest.fixture
def copy(curated, tmp_path):
    """A run folder that a test may change."""
    shutil.copytree(curated[0], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """50 frames that tell their number, at 10 a second."""
    path = tmp_path_factory.mktemp("videos") / "v.mp4"
    return write_video(path, numbered_frames(50), fps=packs.FPS, options={"crf": "1"})


@pytest.fixture(scope="session")
def dataset(video, tmp_path_factory):
    """(run folder, rows, jobs): some shards of about three clips."""
    folder = tmp_path_factory.mktemp("run")
    rows = packs.prepared(folder, video)
    return folder, rows, packs.packed(folder, 20_000)


@pytest.fixture
def without_waiting_for_the_disk(monkeypatch):
    """Nothing is flushed; these tests kill nobody."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
