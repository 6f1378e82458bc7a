"""A small corpus curated by the real passes in this process: the truth that a plan foretells."""

import re
import time
from pathlib import Path

import cv2
import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from curation.captions.embedded import CaptionSettings
from curation.engines.local import LocalEngine
from curation.passes.encode import EncodeSettings
from curation.passes.filters import Filters
from curation.passes.measure import MeasureSettings
from curation.passes.pack import Packing
from curation.passes.run import Passes
from curation.recipe import as_settings, plan_measures
from curation.sources import read_clips
from tests.media.clips import write_video

CLIPS, PROBED, FPS = 36, 12, 12


def write_corpus(folder: Path) -> None:
    """Films of 2 to 4 s: a square that moves over a texture, it stands in every fifth; 2 pages."""
    draws = np.random.default_rng(4)
    for number in range(CLIPS - 2):
        noise = cv2.GaussianBlur(draws.random((72, 128, 3)), (0, 0), 2)
        ground = (125 + 35 * (noise - noise.mean()) / noise.std()).clip(0, 255).astype(np.uint8)
        patch = np.roll(ground, 40, axis=1)[:30, :40]
        frames = np.repeat(ground[None], int(draws.integers(2 * FPS, 4 * FPS)), axis=0)
        for i, frame in enumerate(frames):
            left = 10 if number % 5 == 0 else 10 + round(70 * i / len(frames))
            frame[20:50, left : left + 40] = patch
        write_video(folder / f"{number:02d}.mp4", frames, fps=FPS)
    for name in ("page", "other"):
        (folder / f"{name}.mp4").write_text("<html>403</html>")


def config(folder: Path, run_dir: Path, *overrides: str) -> DictConfig:
    """The settings of a plan for the corpus in `folder`."""
    with hydra.initialize_config_module("conf", version_base="1.3"):
        composed = hydra.compose(
            "plan_curate",
            [
                "source=folder",
                f"source.path={folder}",
                f"run_dir={run_dir}",
                f"probe={PROBED}",
                "tracking=disabled",
                "measures.action.use=false",
                "measure.short_side=72",
                "measure.min_shot_frames=16",
                "encode.short_side=72",
                "filters.max_frozen_share=0.9",
                "unit_timeout_s=60",
                "workers=1",  # as what it is compared with
                *overrides,
            ],
        )
    OmegaConf.set_struct(composed, False)
    return composed


class Direct:
    """Calls in this very process, which counts what they read."""

    read_bytes = 0

    def __call__(self, function, *args):
        before = bytes_read()
        result = function(*args)
        self.read_bytes += bytes_read() - before
        return result

    def stop(self):
        pass


def bytes_read() -> int:
    """Bytes that this process has read."""
    text = Path("/proc/self/io").read_text() if Path("/proc/self/io").exists() else "rchar: 0"
    return int(re.search(r"rchar: (\d+)", text)[1])


def curate_all(
    settings: DictConfig, folder: Path, part: slice = slice(None)
) -> tuple[dict[str, float], int, int]:
    """CPU seconds by pass of the real passes in this process, bytes of the dataset, bytes read."""
    folder.mkdir()
    sections = {"measure": MeasureSettings, "encode": EncodeSettings, "filters": Filters}
    measure, encode, filters = (as_settings(k, settings[n]) for n, k in sections.items())
    tasks, absent = plan_measures(settings)
    captioner = as_settings(CaptionSettings, settings.captioner)
    passes = Passes(LocalEngine(1, direct := Direct()), folder, 60)
    clips = list(read_clips(OmegaConf.to_container(settings.source, resolve=True)))[part]
    seconds = {}

    def timed(name, function, *args):
        began = time.process_time()
        result = function(*args)
        seconds[name] = time.process_time() - began
        return result

    timed("list", passes.freeze, clips, 64, True, "d")
    timed("inspect", passes.inspect)
    timed("measure", passes.measure, measure, tasks)
    timed("decide", passes.decide, measure, tasks, absent, filters, frozenset())
    timed("encode", passes.encode, encode)
    timed("caption", passes.caption, captioner, encode)
    jobs = passes.plan(encode, 2**29)
    timed("pack", passes.pack, jobs, Packing(encode, {}, {"folder": True}))
    shards = (folder / "dataset").rglob("*.tar")
    return seconds, sum(path.stat().st_size for path in shards), direct.read_bytes
