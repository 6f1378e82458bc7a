"""A small synthetic film of four shots, one of them longer than max_shot_s, and runs over it."""

import json
from collections import Counter

import cv2
import hydra
import numpy as np

from curation.tables import read_rows
from dynamicrafter.command import run_in_folder
from dynamicrafter.files import read_json, sha256_file
from dynamicrafter.shards import ShardReader
from tests.media.clips import write_video

FPS = 12
SCENES = {"left": (-0.06, 0, 7), "still": (0, 0, 4), "up": (0, -0.015, 13), "pan": (0.3, 0, 5)}
REASONS = {"camera_dominated": 1, "frozen": 1, "not_video": 1}


def scene(name, seed):
    """A textured square that moves by (x, y) diagonals a second over a texture; `pan` moves all."""
    x, y, seconds = SCENES[name]
    rng = np.random.default_rng(seed)
    brightness = (60, 190)[seed % 2]
    background, patch = (smooth_texture(rng, size, brightness) for size in ((96, 640), (44, 60)))
    for i in range(FPS * seconds):
        across, down = (round(v * np.hypot(96, 160) * i / FPS) for v in (x, y))
        if name == "pan":
            yield background[:, across : across + 160]
            continue
        frame = background[:, :160].copy()
        top, left = 45 + down, 90 + across
        frame[top : top + 44, left : left + 60] = patch
        yield frame


def smooth_texture(rng, size, brightness):
    noise = cv2.GaussianBlur(rng.random((*size, 3)), (0, 0), 3)
    return np.clip(brightness + (noise - noise.mean()) / noise.std() * 30, 0, 255).astype(np.uint8)


def short_film(path, seed):
    """Seven seconds of a square that moves to the left."""
    return write_video(path, np.stack(list(scene("left", seed))), fps=FPS)


class Inline:
    """An engine of this process alone, which counts what would go to worker processes."""

    def __init__(self):
        self.calls = Counter()
        self.fails = {}  # name of a function → what it raises

    def isolated(self, function, *args):
        self.calls[function.__name__] += 1
        if function.__name__ in self.fails:
            raise self.fails[function.__name__]
        return function(*args)

    def run(self, work, jobs):
        for job in jobs:
            yield work(job, self.isolated)

    def meet(self, name):
        pass

    def lead(self, name, work):
        work()


def config(run_dir, *overrides, source="folder"):
    with hydra.initialize_config_module("conf", version_base="1.3"):
        return hydra.compose(
            "curate",
            [
                f"source={source}",
                f"run_dir={run_dir}",
                "tracking=disabled",
                "measure.short_side=64",
                "encode.short_side=96",
                "measures.action.use=false",
                "filters.max_frozen_share=0.9",  # small pictures move by whole pixels now and then
                "filters.min_sharpness=1",  # and have no fine detail
                "max_failed_share=0.5",
                "unit_timeout_s=60",
                *overrides,
            ],
        )


def curate(run_dir, films, *overrides):
    """Curate a folder of films; returns the summary."""
    run_in_folder(config(run_dir, f"source.path={films}", *overrides), "curation.pipeline")
    return read_json(run_dir / "summary.json")


def curate_table(run_dir, films, rows, *overrides):
    """Curate a table of (path, caption, dynamic_wording, dynamic_confidence)."""
    names = ["path", "caption", "dynamic_wording", "dynamic_confidence"]
    table = run_dir.with_suffix(".jsonl")
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    table.write_text("\n".join(lines) + "\n")
    own = [
        f"source.table={table}",
        f"source.data_dir={films}",
        f"source.extra=[{','.join(names[2:])}]",
    ]
    run_in_folder(config(run_dir, *own, *overrides, source="table"), "curation.pipeline")
    return read_json(run_dir / "summary.json")


def table(folder, name="measures"):
    return read_rows(folder / f"{name}.parquet")


def samples_of(folder):
    found = {}
    for split in ("train", "test"):
        reader = ShardReader(folder / "dataset" / split, verify=True)
        found |= {key: reader[number] for number, key in enumerate(reader.keys)}
    return found


def files_below(folder, *names):
    """Path → what tells whether it was written again; of shots, whether they are others."""
    paths = [path for name in names for path in (folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): _facts(path) for path in paths}


def _facts(path):
    if path.parent.name == "shots":
        return sha256_file(path)
    return path.stat().st_ino, path.stat().st_mtime_ns


def new_files(before, after):
    assert before.items() <= after.items()
    return sorted(after.keys() - before.keys())


STORED = ("listing", "inspect-1", "shots", "measures", "encoded")
