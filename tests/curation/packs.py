"""Run folders with clips that are really encoded, packed."""

from dataclasses import asdict

import pyarrow as pa

from curation.captions.embedded import CaptionSettings
from curation.passes.caption import caption_jobs, caption_pieces
from curation.passes.captions import gather_captions
from curation.passes.decide import decide, kept_rows
from curation.passes.encode import EncodeJob, EncodeSettings, encode_piece
from curation.passes.gather import PIECES
from curation.passes.pack import (
    SPLITS,
    Packing,
    finish_split,
    make_plan,
    pack_shard,
    plan_shards,
)
from curation.tables import read_rows, write_rows
from dynamicrafter.files import sha256_file
from dynamicrafter.shards import ShardReader
from tests.curation.decisions import OFF
from tests.curation.tables_of import row, write_measures

FPS, FRAMES = 10, 20
ENCODE = EncodeSettings(short_side=64, crf=10, preset="ultrafast")
CAPTIONER = CaptionSettings(
    name="stated",
    slow_below=0.03,
    fast_above=0.12,
    min_coherence=0.3,
    confidence_scale=0.04,
    min_action_probability=0.9,
)
PACKING = Packing(
    encode=ENCODE,
    digests={"measure": "m", "encode": "e", "decide": "d", "captioner": "c"},
    may_be_passed_on={"mine": False},
)
PIECE_SCHEMA = pa.schema(
    [("piece", pa.string()), ("part", pa.string()), ("first", pa.int64()), ("rows", pa.int32())]
)
PLAN_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "path")),
        *((name, pa.int64()) for name in ("row", "offset", "size")),
    ]
)
EXTRA = {
    "videoid": "1066682806",
    "page_dir": "000001_000050",
    "duration": "PT00H00M02S",
    "contentUrl": "https://example.org/1.mp4",
}
STATED = {"dynamic_wording": "A dog runs, “fast”.", "dynamic_confidence": "83"}


def here(function, *args):
    return function(*args)


def rows_of(video, count=12):
    """Shots of 20 frames that begin at 0.0, 0.1, … s: frame i of clip n shows the number n + i."""
    status = video.stat()
    for number in range(count):
        extra = {} if number == 2 else dict(EXTRA, **(STATED if number == 1 else {}))
        yield row(
            f"clip-{number:02d}-x",
            clip_id=f"clip {number}",
            root=str(video.parent),
            path=video.name,
            sha256=sha256_file(video),
            mtime_ns=status.st_mtime_ns,
            start_s=number / FPS,
            end_s=(number + FRAMES) / FPS,
            frames=FRAMES,
            fps=float(FPS),
            width=96,
            height=64,
            codec="h264",
            caption=f"caption {number}",
            whole=number < 3,
            extra=extra,
            phash="0" * 48,
            motion_curve=[0.02],
        )


def prepared(folder, video, count=12, test_share=0.3, encode=True):
    """A run folder up to the encoded clips: three pieces of four rows."""
    rows = list(rows_of(video, count))
    write_measures(folder, rows)
    firsts = range(0, count, 4)
    pieces = [
        {"piece": f"ab{first:02d}", "part": "p", "first": first, "rows": min(4, count - first)}
        for first in firsts
    ]
    write_rows(folder / PIECES, pieces, PIECE_SCHEMA)
    filters = type(OFF)(**{**asdict(OFF), "test_share": test_share})
    decide(filters, frozenset(), folder)
    for piece in pieces if encode else []:
        job = EncodeJob(piece["piece"], piece["first"], tuple(range(piece["rows"])))
        counts = encode_piece(job, here, settings=ENCODE, folder=folder)
        assert counts == {"clips": piece["rows"], "encoded": piece["rows"], "failed": 0}
    return rows


def captioned(folder):
    """Caption what a prepared folder keeps."""
    kept = {number for number, _ in kept_rows(folder)}
    pieces = []
    for piece in read_rows(folder / PIECES):
        own = [i for i in range(piece["rows"]) if piece["first"] + i in kept]
        pieces.append(EncodeJob(piece["piece"], piece["first"], tuple(own)))
    for job in caption_jobs(piece for piece in pieces if piece.kept):
        caption_pieces(job, here, settings=CAPTIONER, encode=ENCODE, folder=folder)
    assert gather_captions(CAPTIONER, ENCODE, folder) == {}


def packed(folder, shard_bytes, order=None):
    """Caption and pack a prepared folder; the jobs in another order if one is given."""
    captioned(folder)
    assert make_plan(ENCODE, folder) == {}
    jobs = {split: plan_shards(split, shard_bytes, folder) for split in SPLITS}
    everything = [job for split in SPLITS for job in jobs[split]]
    if order is not None:
        order.shuffle(everything)
    for job in everything:
        pack_shard(job, here, packing=PACKING, folder=folder)
    for split in SPLITS:
        finish_split(split, jobs[split], "config", folder)
    return jobs


def bytes_below(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def infos_of(folder):
    infos = {}
    for split in SPLITS:
        reader = ShardReader(folder / "dataset" / split)
        infos |= {key: reader[number].info for number, key in enumerate(reader.keys)}
    return infos
