import json
import random
import subprocess
import sys
import time
from collections import Counter

import pytest

from curation.sources import read_clips
from dynamicrafter.errors import InputError
from tests.curation.hostile.tables import EXPECTED, HEAVY, HOSTILE

# Reads a source as the test does and tells by how much the peak of memory rose, in MiB.
PROBE = """
import json, resource, sys
from collections import Counter
from curation.sources import read_clips
from dynamicrafter.errors import InputError
import pyarrow.compute, pyarrow.parquet

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, error = peak(), None
try:
    counts = Counter(clip.reason or "good" for clip in read_clips(json.loads(sys.argv[1])))
except InputError as trouble:
    counts, error = {}, str(trouble)
print(json.dumps([counts, error, peak() - before]))
"""


def read(source):
    counts = Counter()
    try:
        for clip in read_clips(source):
            counts[clip.reason or "good"] += 1
            check(clip)
    except InputError as error:
        return counts, str(error)
    return counts, None


def check(clip):
    assert clip.clip_id
    assert clip.clip_id.isprintable()
    assert bool(clip.reason) == bool(clip.message)
    assert "\n" not in clip.message
    assert len(clip.message) < 500
    assert clip.caption
    assert len(clip.caption) <= 5000
    json.dumps([clip.clip_id, clip.caption, clip.message, clip.extra], ensure_ascii=False).encode()
    assert all(type(value) is str and value for value in clip.extra.values())
    if not clip.reason:
        assert clip.path
        assert not clip.path.startswith("/")
        assert ".." not in clip.path.split("/")
        assert clip.end_s is None or 0 <= clip.start_s < clip.end_s


def agrees(name, counts, error):
    expected = EXPECTED[name]
    if isinstance(expected, str):
        assert error is not None, counts
        assert expected in error
        assert "\n" not in error
        assert len(error) < 2000
        return
    assert error is None
    if "other" in expected:
        assert counts["good"] == expected["good"]
        assert counts.total() - counts["good"] >= expected["other"]
    else:
        assert dict(counts) == expected


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 50


@pytest.mark.parametrize("name", sorted(set(HOSTILE) - HEAVY))
def test_hostile(name, tmp_path):
    source = HOSTILE[name](tmp_path)
    start = time.monotonic()
    counts, error = read(source)
    assert time.monotonic() - start < 10
    agrees(name, counts, error)


@pytest.mark.parametrize("name", sorted(HEAVY))
def test_hostile_and_heavy(name, tmp_path):
    command = [sys.executable, "-c", PROBE, json.dumps(HOSTILE[name](tmp_path))]
    start = time.monotonic()
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 15
    counts, error, megabytes = json.loads(answer.stdout)
    agrees(name, Counter(counts), error)
    assert megabytes < 200


FUZZED = [
    "array_with_a_broken_element", "caption_of_several_lines", "json_nan", "lists",
    "parquet_of_other_types", "structures", "tar_with_bad_extended_headers", "tar_with_holes",
    "tar_with_long_names", "tar_with_stated_sizes", "times", "truncated_gzip",
]  # fmt: skip


@pytest.mark.parametrize("name", FUZZED)
def test_random_damage(name, tmp_path):
    """Whatever bytes a file holds, it gives rows or one clear error."""
    source = HOSTILE[name](tmp_path)
    (path,) = tmp_path.iterdir()
    whole, draw = path.read_bytes(), random.Random(name)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 2, 5, 30])):
            place = draw.randrange(len(damaged) or 1)
            kind = draw.choice(["set", "set", "cut", "insert", "insert"])
            if kind == "cut":
                del damaged[place : place + draw.choice([1, 100, 512])]
            elif kind == "insert":
                damaged[place:place] = draw.choice([b'"', b"\n", b'",', b"\\", bytes(512)])
            elif damaged:
                damaged[place] = draw.choice([0, 255, *b'",[]{}', draw.randrange(256)])
        path.write_bytes(repaired(damaged) if draw.random() < 0.7 else damaged)
        _, error = read(source)
        assert "\n" not in (error or "")


def repaired(content):
    """A tar whose checksums are right, so that its damage is looked at."""
    for start in range(0, len(content) - 511, 512):
        block = content[start : start + 512]
        if block[257:262] == b"ustar":
            checksum = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
            content[start + 148 : start + 156] = b"%06o\0 " % checksum
    return content


def test_it_reads_the_same_every_time(tmp_path):
    for name in ("open_quote_before_many_lines", "lists", "tar_with_bad_texts", "links"):
        (tmp_path / name).mkdir()
        source = HOSTILE[name](tmp_path / name)
        assert list(read_clips(source)) == list(read_clips(source))
