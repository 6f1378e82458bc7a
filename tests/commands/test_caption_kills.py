"""kill -9 while a model is asked, and the same command again: the same digest, few questions twice.

What a run was told before it died is in the cache of answers, so each kill costs at most the
questions that were under way.
"""

import json
import random
import shutil
import time

import pytest

from dynamicrafter.files import read_json
from tests.commands.kills import kill, start
from tests.commands.runner import partials, run
from tests.curation.captions.faulty_server import FaultyServer
from tests.curation.films import short_film

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CLIPS, IN_FLIGHT = 24, 3
LOST_BY_A_KILL = 2 * IN_FLIGHT  # those at the server, and those whose answers were just coming in


def arguments(corpus, folder, *more):
    return [
        "curate", "source=folder", f"source.path={corpus}", f"run_dir={folder}",
        "tracking=disabled", "measures.action.use=false", "measure.short_side=64",
        "encode.short_side=96", "filters.max_frozen_share=0.9", "filters.min_sharpness=1",
        "filters.max_phash_distance=null", "list.part_rows=4", "measure.job_s=20", "workers=2",
        "pack.shard_megabytes=0.2", *more,
    ]  # fmt: skip


def asking(corpus, folder, cache, server):
    return arguments(
        corpus, folder, "captioner=vlm", f'captioner.client.servers=["{server.url}"]',
        f"captioner.cache={cache}", f"captioner.client.in_flight={IN_FLIGHT}",
        "captioner.client.retry_base_s=0.05",
    )  # fmt: skip


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """(corpus, a run folder in which everything is done but the asking)."""
    folder = tmp_path_factory.mktemp("encoded")
    (folder / "corpus").mkdir()
    for number in range(CLIPS):
        short_film(folder / "corpus" / f"clip {number:02d}.mp4", number)
    done = run(*arguments(folder / "corpus", folder / "run"))
    assert done.returncode == 0, done.stderr
    return folder / "corpus", folder / "run"


@pytest.fixture
def server():
    with FaultyServer() as server:
        server.delay_s = 0.15
        yield server


@pytest.fixture
def expected(encoded, tmp_path, server):
    """The root digest of a run that nobody disturbs, with the questions that it takes."""
    shutil.copytree(encoded[1], tmp_path / "undisturbed")
    done = run(*asking(encoded[0], tmp_path / "undisturbed", tmp_path / "cache 0", server))
    assert done.returncode == 0, done.stderr
    questions = set(server.digests)
    assert len(server.digests) == len(questions) == CLIPS
    return result(tmp_path / "undisturbed"), questions


def result(folder):
    assert not partials(folder)
    lines = (folder / "quarantine.jsonl").read_text().splitlines()
    assert list(map(json.loads, lines)) == []
    assert sum(read_json(folder / "summary.json")["kept"].values()) == CLIPS
    return read_json(folder / "manifest.json")["root_digest"]


def kill_and_resume(encoded, tmp_path, server, expected, moments):
    """Each moment: kill the run once so many questions were asked, then let it end."""
    draw, (digest, questions) = random.Random(0), expected
    for moment in range(moments):
        folder, cache = tmp_path / f"run {moment}", tmp_path / f"cache of {moment}"
        shutil.copytree(encoded[1], folder)
        command = asking(encoded[0], folder, cache, server)
        before, kills = len(server.digests), draw.randint(1, 2)
        for _ in range(kills):
            begun = start(command, folder.with_suffix(".log"))
            wait_for(begun, server, len(server.digests) + draw.randint(0, CLIPS // 2))
            time.sleep(draw.uniform(0, 0.15))
            kill(begun.process)
            assert not begun.orphans()
        last = start(command, folder.with_suffix(".log"))
        assert last.finish() == 0, last.log.read_text()[-3000:]
        assert not last.orphans()
        asked = server.digests[before:]
        assert set(asked) <= questions
        assert len(asked) <= CLIPS + LOST_BY_A_KILL * kills, moment
        assert result(folder) == digest, moment


def wait_for(begun, server, count):
    """Until the server was asked so often, or the run has ended."""
    while len(server.digests) < count and begun.wait_until(0.05):
        pass


@pytest.mark.sample
def test_three_random_moments(encoded, tmp_path, server, expected):
    kill_and_resume(encoded, tmp_path, server, expected, 3)


def test_twenty_random_moments(encoded, tmp_path, server, expected):
    kill_and_resume(encoded, tmp_path, server, expected, 20)


def test_ctrl_c_ends_soon_although_the_server_hangs(encoded, tmp_path, server):
    """Also while the run waits for answers; the same command then goes on."""
    server.script = lambda number, question: "hang"
    folder = tmp_path / "run"
    shutil.copytree(encoded[1], folder)
    command = asking(encoded[0], folder, tmp_path / "cache", server)
    begun = start(command, folder.with_suffix(".log"))
    wait_for(begun, server, 1)
    begun.look()
    began = time.monotonic()
    begun.process.terminate()
    assert begun.finish(limit_s=30) == 130, begun.log.read_text()[-2000:]
    assert time.monotonic() - began < 20  # far less than the 60 s that a request may take
    assert not begun.orphans()
    server.script, server.delay_s = (), 0.0
    assert run(*command).returncode == 0
    result(folder)


def test_ctrl_c_ends_soon_although_no_server_is_there(encoded, tmp_path, server):
    folder = tmp_path / "run"
    shutil.copytree(encoded[1], folder)
    server.health = 503
    begun = start(
        asking(encoded[0], folder, tmp_path / "cache", server), folder.with_suffix(".log")
    )
    while not server.gets and begun.wait_until(0.05):
        pass
    begun.look()
    begun.process.terminate()
    assert begun.finish(limit_s=30) == 130, begun.log.read_text()[-2000:]
    assert not begun.orphans()
