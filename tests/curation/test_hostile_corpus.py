"""`dynamicrafter curate` over hundreds of broken and hostile files: all of them end on record.

The command runs as its own process, in an empty folder, beside a server that nobody may call and a
video that nobody may open.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.sources.lines import shown_path
from dynamicrafter import assets
from dynamicrafter.files import sha256_file
from dynamicrafter.media.decode import read_frames
from dynamicrafter.shards import ShardReader
from tests.commands.runner import DYNAMICRAFTER, QUIET, partials
from tests.curation.hostile.corpus import DROPPED, MEASURED, UNLISTED, Expected
from tests.curation.hostile.encoding import scenes, video
from tests.curation.hostile.videos import make_corpus
from tests.media.clips import write_video

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SOURCES = ["sports2d", "pose2sim-cam01", "pose2sim-cam03"]
LONG_AGO = 1_000_000_000
KEEP_ALL = (
    "filters.max_phash_distance=null",
    "filters.min_object_motion=null",
    "filters.max_camera_motion=null",
    "filters.min_sharpness=null",
    "encode.short_side=128",
)
"""All that can be measured is also encoded and packed, though most of it looks alike."""
PEAK_MB, SECONDS = 1500, {"sample": 150, "all": 500}


@dataclass
class Run:
    """A run of the command, and what was seen of it from outside."""

    expected: dict[str, Expected]
    corpus: Path
    folder: Path
    around: list[Path]  # folders that must stay empty: where it was started, for temporary files
    canary: Path
    untouched: tuple[dict, bool]  # the corpus before; whether this file system notes reading
    returncode: int
    stderr: str
    seconds: float
    peaks: dict[str, float]  # process → MB
    calls: int

    def rows(self) -> dict[str, list[dict]]:
        """The rows of the table by clip."""
        found: dict[str, list[dict]] = {}
        for row in pq.read_table(self.folder / "measures.parquet").to_pylist():
            found.setdefault(row["clip_id"], []).append(row)
        return found


@pytest.fixture(scope="module", params=[pytest.param("sample", marks=pytest.mark.sample), "all"])
def curated(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(f"hostile-{request.param}")
    corpus, canary = place / "corpus", place / "private" / "canary.mp4"
    canary.parent.mkdir()
    write_video(canary, magenta())
    with server() as (port, calls):
        expected = make_corpus(corpus, assets.fetch(SOURCES), canary, port)
        if request.param == "sample":
            expected = reduce_to_sample(corpus, expected)
        os.utime(canary, (LONG_AGO, LONG_AGO))
        before = state(corpus), notes_reading(place)
        around = [place / "here", place / "temporary"]
        for folder in around:
            folder.mkdir()
        answer = watched(
            place,
            "unit_timeout_s=20",
            f"source.path={corpus}",
            "source.pattern=['*']",
            *KEEP_ALL,
            f"run_dir={place / 'run'}",
        )
        return Run(expected, corpus, place / "run", around, canary, before, *answer, len(calls))


def magenta():
    """Frames that would be known again in any output."""
    frames = np.zeros((60, 96, 160, 3), np.uint8)
    frames[..., 0] = frames[..., 2] = 250
    for number, frame in enumerate(frames):
        frame[30:60, number : number + 30] = (200, 0, 200)
    return frames


def reduce_to_sample(corpus, expected):
    for path in corpus.iterdir():
        if not expected.get(path.name, Expected("", sample=False)).sample:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return {name: own for name, own in expected.items() if own.sample}


@contextlib.contextmanager
def server():
    """(port, list of calls) of a server on this machine."""
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, caller = listening.accept()
                    calls.append(caller)
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1], calls
        listening.shutdown(socket.SHUT_RDWR)


def state(folder):
    """What would change if a file were written, made or taken away below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[path] = (status.st_mtime_ns, status.st_size, status.st_mode)
    return found


def notes_reading(place):
    """Whether the file system notes when a file is read."""
    path = place / "probe"
    path.write_bytes(b"1")
    os.utime(path, (LONG_AGO, LONG_AGO))
    path.read_bytes()
    return path.stat().st_atime != LONG_AGO


def watched(place, *arguments):
    """Run the command: (exit code, stderr, seconds, peaks)."""
    command = [*DYNAMICRAFTER, "curate", "source=folder", "tracking=disabled", "workers=2"]
    command += ["max_failed_share=1", "measures.action.use=false", *arguments]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": paths, "TMPDIR": str(place / "temporary")}
    began = time.monotonic()
    with open(place / "stderr", "wb") as file:
        process = subprocess.Popen(
            command,
            cwd=place / "here",
            env={**os.environ, **QUIET, **own},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        peaks: dict[str, float] = {}
        while process.poll() is None:
            peaks |= memory_of_group(process.pid)
            time.sleep(0.1)
    seconds = time.monotonic() - began
    return process.returncode, (place / "stderr").read_text(errors="replace"), seconds, peaks


def memory_of_group(group):
    """Process → most memory that it ever held, MB, of the processes of a group."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended
            if int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                for line in (folder / "status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        found[folder.name] = int(line.split()[1]) / 1024
    return found


def test_the_command_ends_well(curated, request):
    assert curated.returncode == 0, curated.stderr[-3000:]
    assert "Traceback" not in curated.stderr
    assert len(curated.expected) >= (40 if "sample" in request.node.name else 300)
    assert curated.seconds < SECONDS["sample" if "sample" in request.node.name else "all"]
    assert len(curated.peaks) >= 3
    assert max(curated.peaks.values()) < PEAK_MB


def test_every_file_is_on_record(curated):
    rows = curated.rows()
    listed = {shown_path(name) for name, own in curated.expected.items() if own.outcome != UNLISTED}
    assert set(rows) == listed
    for own in rows.values():
        for row in own:
            assert row["reason"] or row["frames"] >= 2
            assert row["reason"] != "crashed"
    decisions = pq.read_table(curated.folder / "decisions.parquet").to_pylist()
    assert [row["clip_id"] for row in decisions] == [
        row["clip_id"] for own in rows.values() for row in own
    ]
    assert all(row["kept"] == (row["reason"] is None) for row in decisions)


def test_what_must_come_of_them(curated):
    rows = curated.rows()
    wrong = []
    for name, own in curated.expected.items():
        found = rows.get(shown_path(name), [])
        reasons = {row["reason"] for row in found}
        if own.outcome == MEASURED:
            sizes = {(row["width"], row["height"]) for row in found}
            well = None in reasons and reasons <= {None, "too_short"}
            well = well and own.size in (None, *sizes)
        else:
            well = own.outcome != DROPPED or reasons <= set(own.reasons)
        if not well:
            wrong.append((name, own, [(row["reason"], row["message"]) for row in found]))
    assert not wrong


def test_a_file_that_breaks_off_keeps_what_came_before(curated):
    """At least in some; which, depends on the decoder."""
    assert "cut" in Counter(own.kind for own in curated.expected.values())
    broken = [own for own in curated.rows().values() if len(own) > 1 and own[-1]["frames"] is None]
    assert all(row["frames"] for own in broken for row in own[:-1])


def test_nothing_else_was_opened_or_called(curated):
    assert curated.calls == 0
    notes = curated.untouched[1]
    if notes:
        assert curated.canary.stat().st_atime == LONG_AGO
    known = sha256_file(curated.canary)
    assert known not in {row["sha256"] for own in curated.rows().values() for row in own}


def test_nothing_is_left_lying_around(curated):
    assert [list(folder.iterdir()) for folder in curated.around] == [[], []]
    assert state(curated.corpus) == curated.untouched[0]
    assert not partials(curated.folder)


def test_the_dataset_is_whole(curated):
    decisions = pq.read_table(curated.folder / "decisions.parquet").to_pylist()
    kept = {split: set() for split in ("train", "test")}
    for row in decisions:
        if row["kept"]:
            kept[row["split"]].add(row["key"])
    assert kept["train"]
    assert kept["test"]
    for split, keys in kept.items():
        reader = ShardReader(curated.folder / "dataset" / split)
        samples = [reader[number] for number in range(len(reader))]
        assert {sample.key for sample in samples} == keys
        for sample in samples:
            frames = read_frames(sample.video, range(sample.info["frames"]))
            size = (sample.info["height"], sample.info["width"])
            assert frames.shape == (sample.info["frames"], *size, 3)
            red, green, blue = frames.reshape(-1, 3).mean(axis=0)
            assert not (green < 60 and red > 180 and blue > 180)


DEADLY = "tests.curation.hostile.encoding:deadly"


@pytest.mark.sample
def test_what_kills_or_holds_its_worker_is_set_aside(tmp_path):
    """Twice; the others go on. A classifier does it, since it runs where decoders do."""
    corpus = tmp_path / "corpus"
    for name in ("corpus", "here", "temporary"):
        (tmp_path / name).mkdir()
    look = scenes(assets.fetch(SOURCES[:1]))[0]
    for number in range(4):
        (corpus / f"well-{number}.mp4").write_bytes(video(np.roll(look, 40 * number, axis=2)))
    (corpus / "kills.mp4").write_bytes(video(np.resize(look, (60, 64, 128, 3))))
    (corpus / "holds.mp4").write_bytes(video(np.resize(look, (60, 64, 192, 3))))
    code, stderr, _, _ = watched(
        tmp_path,
        "unit_timeout_s=8",
        f"source.path={corpus}",
        f"measures.cgi.classifier={DEADLY}",
        "measures.motion.use=false",
        "filters.min_object_motion=null",
        "filters.max_camera_motion=null",
        "measure.short_side=64",
        "list.part_rows=2",
        f"run_dir={tmp_path / 'run'}",
    )
    assert code == 0, stderr[-3000:]
    assert "Traceback" not in stderr
    rows = pq.read_table(tmp_path / "run" / "measures.parquet").to_pylist()
    found = {row["clip_id"]: row for row in rows}
    assert found["kills.mp4"]["reason"] == "crashed"
    assert found["holds.mp4"]["reason"] == "timeout"
    assert "2 times" in found["kills.mp4"]["message"]
    assert "2 times" in found["holds.mp4"]["message"]
    assert all(found[f"well-{number}.mp4"]["cgi_probability"] == 0 for number in range(4))
    assert len(rows) == 6
