"""Small run folders of `curate` with the real tables and shards, and videos that are none."""

import functools
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from curation.captions.embedded import CaptionSettings, caption
from curation.passes.dcp_table import write_dcp_csv
from curation.passes.decide import DECISIONS, decide, kept_rows
from curation.passes.filters import Filters
from curation.passes.gather import FACTS, IDENTITY, PIECES, TABLE
from curation.passes.inspect import INSPECT
from curation.passes.measure import BY_NAME, column_types
from curation.passes.sample import sample_info
from curation.tables import TableWriter, digest_rows, iterate_rows, read_rows
from dynamicrafter.files import read_json, write_json
from dynamicrafter.shards import Sample, write_shards

HOSTILE = (
    '</script><img src=x onerror="alert(1)">',
    "# A heading\n\n| a | table |\r\n**bold** [link](javascript:alert(1)) `code`",
    "NA",
    "null",
    'a woman "waves", her hand; \x00\x1b[31m she smiles\u2028',
    '=HYPERLINK("http://x")',
)
PIECE_SCHEMA = pa.schema(
    {
        "piece": pa.string(),
        "part": pa.string(),
        "first": pa.int64(),
        "rows": pa.int32(),
        "failed": pa.int32(),
    }
)
ROWS_OF_A_PIECE = 5
FILTERS = Filters(
    max_black_share=0.5,
    max_frozen_share=0.7,
    min_object_motion=0.003,
    max_camera_motion=0.25,
    camera_dominance=2,
    min_sharpness=6,
    max_letterbox_share=None,
    max_text_share=None,
    max_static_text_share=None,
    drop_watermarked=False,
    drop_cgi=True,
    max_cgi_probability=None,
    min_clip_alignment=None,
    min_aesthetic=None,
    min_dynamic_confidence=None,
    max_phash_distance=6,
    on_missing="keep",
    test_share=0.25,
    split_by="video",
)
CAPTIONER = CaptionSettings(
    name="embedded",
    slow_below=0.03,
    fast_above=0.12,
    min_coherence=0.3,
    confidence_scale=0.04,
    min_action_probability=0.9,
)
MEASURES = ("motion", "exposure", "sharpness", "letterbox", "phash", "cgi", "action")
OFFLINE = {"mode": "offline", "project": "p", "entity": None, "group": None}


def schema() -> pa.Schema:
    """As `gather` writes it."""
    measured = [field for name in MEASURES for field in column_types(BY_NAME[name])]
    notes = {"digest": "d" * 16, "measures": "{}", "absent": "{}"}
    return pa.schema([*IDENTITY, *FACTS, *measured], metadata=notes)


def rows(count: int, seed: int = 0) -> list[dict]:
    """Rows of `measures.parquet`: two shots a video, with some of every fate."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        phash = "".join(f"{int(word):016x}" for word in rng.integers(0, 2**63, 3))
        if i % 10 == 9:  # a near copy of the one before
            phash = found[-1]["phash"]
        extra = {
            "contentUrl": f"https://example.org/{i}.mp4",
            "licence": ["CC BY 4.0", "CC0"][i % 2],
        }
        if i % 4 == 0:
            extra["dynamic_source_category"] = ["human", "animal"][i // 4 % 2]
        row = dict.fromkeys(schema().names) | {
            "key": f"clip-{i:05d}",
            "clip_id": f"clip {i}",
            "video_id": f"film {i // 2}",
            "source": "stock" if i % 3 else "archive",
            "root": "/videos",
            "path": f"{i}.mp4",
            "caption": HOSTILE[i % len(HOSTILE)] if i < 12 else f"a dog is running, take {i}",
            "extra": json.dumps(extra),
            "sha256": digest_rows(i) * 4,
            "start_s": i % 2 * 2.0,
            "end_s": i % 2 * 2.0 + 2.0,
            "whole": False,
            "frames": 48,
            "bytes": 1000,
            "mtime_ns": 1,
            "container": "mov",
            "codec": "h264",
            "width": 64,
            "height": 48,
            "rotation": 0,
            "fps": 24.0,
            "duration_s": 4.0,
            "object_motion": float(rng.exponential(0.05)),
            "camera_motion": float(rng.exponential(0.05)),
            "motion_direction": 90.0,
            "motion_coherence": 0.5,
            "motion_curve": [0.1, 0.2],
            "black_share": float(rng.uniform(0, 0.6)),
            "frozen_share": 0.0,
            "sharpness": float(rng.uniform(4, 400)),
            "letterbox_share": None if i % 5 == 0 else 0.01,
            "phash": phash,
            "cgi_caption": i % 17 == 3,
        }
        if i % 13 == 5:
            dead = {"reason": "not_video", "message": "/videos/x is no video", "frames": None}
            row |= dead | dict.fromkeys(schema().names[16:])
        found.append(row)
    return found


def piece_of(number: int) -> tuple[str, str]:
    """(piece, part) of a row."""
    piece = number // ROWS_OF_A_PIECE
    return digest_rows("piece", piece), digest_rows("part", piece // 2)


def write_tables(folder: Path, table: list[dict], filters: Filters = FILTERS) -> None:
    """`measures.parquet`, `pieces.parquet`, `decisions.parquet` and `funnel.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = TableWriter(folder / TABLE, schema())
    writer.add(table)
    writer.close({"content": "c" * 64})
    pieces = TableWriter(folder / PIECES, PIECE_SCHEMA)
    for first in range(0, len(table), ROWS_OF_A_PIECE):
        piece, part = piece_of(first)
        own = {"piece": piece, "part": part, "first": first, "failed": 0}
        pieces.add([{**own, "rows": min(ROWS_OF_A_PIECE, len(table) - first)}])
    pieces.close()
    decide(filters, frozenset(), folder)


def samples(folder: Path, split: str, may_be_passed_on: bool = True) -> list[Sample]:
    """The samples of a split, whose videos are texts."""
    kept = {number for number, own in kept_rows(folder) if own == split}
    found = []
    for number, row in enumerate(iterate_rows(folder / TABLE)):
        if number not in kept:
            continue
        said = caption(row, CAPTIONER)
        info = sample_info(
            row,
            said,
            size=(64, 48),
            may_be_passed_on=may_be_passed_on,
            digests={"captioner": "c4" * 8},
        )
        video = f"video {row['key']}".encode() * (1 + number % 700)
        found.append(Sample(row["key"], video, said.dynamic_wording, info))
    return sorted(found, key=lambda sample: sample.key)


def config() -> dict:
    """As much of a resolved config of `curate` as its papers and tables are made from."""
    return {
        "filters": asdict(FILTERS),
        "captioner": asdict(CAPTIONER),
        "source": {
            "name": "stock",
            "kind": "table",
            "media_may_be_passed_on": False,
            "terms": "non-commercial research | no <b>passing on</b>",
        },
        "tracking": OFFLINE,
        "allow_media": False,
        "sample_clips": 3,
        "opt_out": None,
        "max_failed_share": 0.1,
    }


def make_run(folder: Path, count: int = 60, shard_bytes: int = 30_000, **passed_on: bool) -> Path:
    """A finished run folder."""
    write_tables(folder, rows(count))
    write = functools.partial(write_shards, config_digest="test", shard_bytes=shard_bytes)
    dataset = {}
    for split in ("train", "test"):
        own = samples(folder, split, **passed_on)
        manifest = write(folder / "dataset" / split, own, name=split)
        dataset[split] = {
            "samples": len(own),
            "frames": 48 * len(own),
            "root_digest": manifest["root_digest"],
        }
    infos = [s.info for split in ("train", "test") for s in samples(folder, split, **passed_on)]
    write_dcp_csv(folder / "dcp.csv", infos)
    funnel = read_json(folder / "funnel.json")
    summary = {
        "rows": count,
        "kept": funnel["kept"],
        "reasons": funnel["reasons"],
        "dataset": dataset,
        "root_digest": "r" * 64,
        "absent": {"aesthetic": "no weights"},
    }
    write_json(folder / "summary.json", summary)
    packages = {"av": "16.0", "numpy": "2.3", "opencv-python-headless": "4.11", "secret-tool": "1"}
    write_json(
        folder / "run.json",
        {
            "config": config(),
            "inputs": {"source": "5" * 16},
            "digest": "e" * 64,
            "python": "3.11.7",
            "packages": packages,
            "revision": "abc",
            "started": "2026-01-01T00:00:00Z",
            "command": ["dynamicrafter", "curate"],
        },
    )
    write_json(folder / "done.json", {"digest": "e" * 64, "summary": summary, "seconds": 1})
    return folder


def add_passes(folder: Path) -> list[Path]:
    """Files as the passes leave them, a few a piece; returns them."""
    table = read_rows(folder / PIECES)
    made = [folder / "listing.parquet"]
    for row in table:
        piece, part = row["piece"], row["part"]
        made += [
            folder / "listing" / f"{part}.parquet",
            folder / INSPECT / f"{part}.parquet",
            folder / "shots" / f"{piece}-0123456789abcdef.parquet",
            folder / "measures" / "motion" / f"{piece}-0123456789abcdef.parquet",
            folder / "encoded" / piece[:2] / f"{piece}-0123456789abcdef-01234567.tar",
        ]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of a pass")
    return list(dict.fromkeys(made))


def decisions(folder: Path) -> list[dict]:
    """The rows of `decisions.parquet`."""
    return read_rows(folder / DECISIONS)
