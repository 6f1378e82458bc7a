"""kill -9 at any moment, of the driver or of a worker, and the same command again: the same digest,
nothing lost, nothing twice, nobody left behind. On this machine, on two Ray nodes, on two ranks.
"""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time

import psutil
import pyarrow.parquet as pq
import pytest

from dynamicrafter.media.decode import read_frames
from tests.commands.kills import kill, start
from tests.commands.runner import partials
from tests.media.clips import write_video

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

WORKER_TIMEOUT = "unit_timeout_s=60"


@pytest.fixture(scope="session")
def corpus(real_clips, tmp_path_factory):
    """24 short clips of the real ones, small, and three files that are no clips."""
    folder = tmp_path_factory.mktemp("corpus")
    starts = {"sports2d": (0, 40, 80, 110), "pose2sim-cam01": (0, 25), "pose2sim-cam03": (0, 30)}
    number = 0
    for name, begins in starts.items():
        for begin in begins:
            frames = read_frames(
                str(real_clips / f"{name}.mp4"), range(begin, begin + 60), short_side=120
            )
            for turned in (frames, frames[:, :, ::-1], frames[::-1]):
                write_video(folder / f"clip {number:02d}.mp4", turned, fps=24)
                number += 1
    (folder / "page.mp4").write_text("<html>403</html>")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "cut.mp4").write_bytes((folder / "clip 00.mp4").read_bytes()[:900])
    return folder


def arguments(corpus, folder, *more):
    return [
        "curate", "source=folder", f"source.path={corpus}", f"run_dir={folder}",
        "tracking=disabled", "max_failed_share=0.5", "measures.action.use=false",
        "list.part_rows=4", "pack.shard_megabytes=0.2", "encode.preset=medium", WORKER_TIMEOUT,
        "filters.max_phash_distance=2", "filters.test_share=0.3", *more,
    ]  # fmt: skip


def result(folder):
    """The root digest, and what must hold of any whole run."""
    rows = pq.read_table(folder / "decisions.parquet").to_pylist()
    keys = [row["key"] for row in rows]
    assert len(keys) == len(set(keys)), "a clip came twice"
    assert len({row["clip_id"] for row in rows}) == 27, "a clip was lost"
    assert all(row["kept"] or row["reason"] for row in rows)
    assert not partials(folder)
    assert (folder / "done.json").exists()
    return json.loads((folder / "manifest.json").read_text())["root_digest"]


def once(corpus, folder, *more):
    run = start(arguments(corpus, folder, *more), folder.with_suffix(".log"))
    assert run.finish() == 0, run.log.read_text()
    return result(folder)


@pytest.fixture(scope="session")
def expected(corpus, tmp_path_factory):
    """The digest of a run that nobody disturbs."""
    return once(corpus, tmp_path_factory.mktemp("undisturbed") / "run", "workers=2")


@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers_gives_the_same(corpus, expected, tmp_path, workers):
    assert once(corpus, tmp_path / "run", f"workers={workers}") == expected


def kill_and_resume(corpus, folder, draw, seconds, *more):
    """Kill the driver, or a worker of it, at a random moment; run again until it is whole."""
    run = start(arguments(corpus, folder, *more), folder.with_suffix(".log"))
    in_time = run.wait_until(draw.uniform(0.3, seconds))
    below = run.look()
    if in_time and below and draw.random() < 0.4:
        kill(draw.choice(below))
        assert run.finish() == 0, run.log.read_text()[-3000:]
    elif in_time:
        kill(run.process)
        assert not run.orphans()
        again = start(arguments(corpus, folder, *more), folder.with_suffix(".log"))
        assert again.finish() == 0, again.log.read_text()[-3000:]
        assert not again.orphans()
    assert run.finish() in (0, -9)
    return result(folder)


def kills(corpus, expected, tmp_path, moments):
    draw = random.Random(0)
    for moment in range(moments):
        folder = tmp_path / f"run{moment}"
        assert kill_and_resume(corpus, folder, draw, 10.0, "workers=2") == expected, moment


@pytest.mark.sample
def test_three_random_moments(corpus, expected, tmp_path):
    kills(corpus, expected, tmp_path, 3)


def test_thirty_random_moments(corpus, expected, tmp_path):
    kills(corpus, expected, tmp_path, 30)


def ranks(corpus, folder):
    """Two ranks of a Slurm array, started together."""
    more = ("engine=slurm", "workers=1", "engine.wait_s=240")
    return [
        start(
            arguments(corpus, folder, *more),
            folder.with_suffix(f".{rank}.log"),
            SLURM_ARRAY_TASK_ID=str(rank),
            SLURM_ARRAY_TASK_COUNT="2",
        )
        for rank in range(2)
    ]


def test_two_slurm_ranks(corpus, expected, tmp_path):
    both = ranks(corpus, tmp_path / "run")
    assert [one.finish() for one in both] == [0, 0], both[0].log.read_text()
    assert result(tmp_path / "run") == expected


@pytest.mark.parametrize("moment", range(3))
def test_a_killed_slurm_rank_is_started_again(corpus, expected, tmp_path, moment):
    draw = random.Random(moment)
    folder = tmp_path / "run"
    both = ranks(corpus, folder)
    victim = draw.randrange(2)
    both[victim].wait_until(draw.uniform(1.0, 9.0))
    kill(both[victim].process)
    assert not both[victim].orphans()
    environment = {"SLURM_ARRAY_TASK_ID": str(victim), "SLURM_ARRAY_TASK_COUNT": "2"}
    more = ("engine=slurm", "workers=1", "engine.wait_s=240")
    again = start(arguments(corpus, folder, *more), folder.with_suffix(".again.log"), **environment)
    assert again.finish() == 0, again.log.read_text()
    assert both[1 - victim].finish() == 0, both[1 - victim].log.read_text()
    assert result(folder) == expected


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory):
    """Two Ray nodes on this machine, one CPU each; ended by their own process ids."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    scratch = tmp_path_factory.mktemp("ray")
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_DISABLE_USAGE_STATS": "1"}
    common = ["--num-cpus", "1", "--block", "--disable-usage-stats"]
    common += ["--object-store-memory", "80000000"]
    head = ["--head", "--port", str(port), "--node-ip-address", "127.0.0.1"]
    head += ["--include-dashboard", "false", "--temp-dir", f"/tmp/ray-{port}"]
    nodes = []
    with contextlib.ExitStack() as stack, (scratch / "log").open("wb") as log:
        for options in (head, ["--address", address]):
            node = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *common],
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )
            stack.callback(node.wait)
            stack.callback(node.terminate)
            nodes.append(node)
            wait_for_nodes(address, 1 if options is head else 2, environment)
        yield ("engine=ray", f"engine.address={address}"), environment, nodes


def wait_for_nodes(address, count, environment):
    code = (
        "import ray, sys, time; ray.init(address=sys.argv[1], logging_level='error')\n"
        "while sum(n['Alive'] for n in ray.nodes()) < int(sys.argv[2]): time.sleep(0.2)"
    )
    for _ in range(30):
        answer = subprocess.run(
            [sys.executable, "-c", code, address, str(count)],
            capture_output=True,
            env={**os.environ, **environment},
            timeout=60,
        )
        if answer.returncode == 0:
            return
    raise AssertionError(answer.stderr.decode())


def workers_of(nodes):
    """The processes of the cluster that run a job, and those that they began."""
    found = []
    for node in nodes:
        for one in psutil.Process(node.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(mark in " ".join(one.cmdline()) for mark in ("run_job", "spawn_main")):
                    found.append(one)
    return found


def test_two_ray_nodes(corpus, expected, tmp_path, ray_cluster):
    more, environment, _ = ray_cluster
    run = start(arguments(corpus, tmp_path / "run", *more), tmp_path / "log", **environment)
    assert run.finish() == 0, run.log.read_text()
    assert result(tmp_path / "run") == expected


@pytest.mark.parametrize("moment", range(3))
def test_a_killed_driver_on_ray(corpus, expected, tmp_path, ray_cluster, moment):
    more, environment, nodes = ray_cluster
    folder = tmp_path / "run"
    run = start(arguments(corpus, folder, *more), tmp_path / "log", **environment)
    run.wait_until(random.Random(moment).uniform(4.0, 14.0))
    assert run.process.poll() is None, run.log.read_text()
    working = workers_of(nodes)
    kill(run.process)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(one.is_running() for one in working):
        time.sleep(0.1)
    assert not [one for one in working if one.is_running()]
    again = start(arguments(corpus, folder, *more), tmp_path / "log", **environment)
    assert again.finish() == 0, again.log.read_text()[-3000:]
    assert result(folder) == expected
