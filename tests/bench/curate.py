"""Measuring clips as curation does, beside its decoder and its flow alone; what the rest costs.

The clips are 18 s of 596x336 at 30 frames/s, the form of WebVid, cut from the demo's film.
"""

import functools
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

from curation.clip import UNKNOWN, Clip
from curation.engines import EngineSettings, Seat, open_engine
from curation.measures import MEASURES
from curation.passes.inspect import inspect_clip, spans_of
from curation.passes.listing import freeze, parts
from curation.passes.measure import MeasureSettings, Task, measure_span, plan_task
from dynamicrafter.media import motion
from dynamicrafter.media.decode import Resizer, iterate_pictures
from dynamicrafter.media.encode import encode_mp4
from tests.bench.timing import Row

CLIPS, SECONDS, FPS = 12, 18, 30
WORKERS = 2
CORE = ("motion", "exposure", "sharpness", "letterbox", "phash", "cgi")
SETTINGS = MeasureSettings(
    span_s=60, job_s=600, max_shot_s=10, min_shot_frames=46, cut_ratio=3, cut_difference=15,
    short_side=256,
)  # fmt: skip


def rows(film: Path) -> list[Row]:
    """Clips per second of this machine's cores, CPU seconds of the dearer parts, the driver."""
    with tempfile.TemporaryDirectory() as name:
        clips = [_write_clip(film, Path(name), number) for number in range(CLIPS)]
        rates: dict[str, list[float]] = {"core": [], "ceiling": []}
        for _ in range(3):  # in turn, so that a machine that slows down slows both
            rates["core"].append(_clips_per_second(measure_core, clips))
            rates["ceiling"].append(_clips_per_second(decode_and_flow, clips))
        core, ceiling = (sorted(values)[1] for values in rates.values())
        found = [
            Row(f"core measures, {WORKERS} processes", core, "clips", "decoder and flow", ceiling)
        ]
        for label, seconds in _cpu_seconds(clips[0]).items():
            found.append(Row(f"{label} alone, one thread", 1 / seconds, "clips"))
        return found + driver_rows(Path(name))


def measure_core(path: str) -> None:
    """What curation does with a clip but for OCR, CLIP, I3D and encoding."""
    _measure(path, CORE)


def decode_and_flow(path: str) -> None:
    """The floor of it: every frame decoded, those that are measured resized, flow between them."""
    resize = Resizer(SETTINGS.short_side)
    gray, last = [], -1
    for time_s, picture in iterate_pictures(path):
        if (tick := int(time_s * motion.PAIRS_PER_SECOND)) > last:
            gray.append(motion.shrink(resize(picture)))
        last = tick
    for first, second in itertools.pairwise(gray):
        motion.dense_flow(first, second)


def driver_rows(folder: Path) -> list[Row]:
    """Jobs that do nothing: clips per second through listing and engine at two sizes."""
    rates, peaks = {}, {}
    for clips in (10_000, 1_000_000):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            drive = alone.submit(_drive, clips, str(folder / str(clips)))
            rates[clips], peaks[clips] = drive.result()
    label = "driver, no work, {:,} clips in parts of 50 (peak {:.0f} MB)"
    small, large = ((label.format(n, peaks[n]), rates[n]) for n in (10_000, 1_000_000))
    return [Row(*small, "clips"), Row(*large, "clips", "10,000 clips", small[1])]


def _drive(clips: int, folder: str) -> tuple[float, float]:
    place = Path(folder)
    place.mkdir()
    seat = Seat(WORKERS, 60.0, place, "bench")
    with open_engine(EngineSettings("local"), seat) as engine:
        time.sleep(3.0)  # its processes start meanwhile
        seconds = []
        for turn in range(max(1, 50_000 // clips)):  # a short one several times
            began = time.perf_counter()
            freeze(_rows(clips), 50, False, "bench", place / str(turn))
            done = sum(1 for _ in engine.run(_nothing, parts(place / str(turn))))
            seconds.append(time.perf_counter() - began)
            assert done > clips / 100
    rate = clips / statistics.median(seconds)
    return rate, _peak_megabytes()


def _peak_megabytes() -> float:
    """Of this program; `ru_maxrss` would also count what the one before it in the process had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _rows(count: int) -> Iterator[Clip]:
    for number in range(count):
        name = f"{number:09d}"
        yield Clip(name, "bench", "/nowhere", f"videos/{name[:6]}/{name}.mp4", caption="a caption")


def _nothing(job: str, isolated: object) -> dict[str, int]:
    return {"clips": 1}


def _measure(path: str, names: tuple[str, ...]) -> None:
    clip = Clip("clip", "bench", os.path.dirname(path), os.path.basename(path), caption=UNKNOWN)
    facts = inspect_clip(clip, None)
    tasks = tuple(task for task in _tasks() if task.name in names)
    for span in spans_of(clip, {**facts, "reason": None}, SETTINGS.span_s):
        measure_span(clip, span, SETTINGS, tasks)


@functools.cache
def _tasks() -> tuple[Task, ...]:
    found = []
    for measure in MEASURES:
        settings = measure.settings(**_defaults(measure.name)) if measure.settings else None
        if not measure.absent(settings):
            found.append(plan_task(measure, settings, SETTINGS))
    return tuple(found)


def _defaults(name: str) -> dict[str, object]:
    import hydra

    with hydra.initialize_config_module("conf", version_base="1.3"):
        section = dict(hydra.compose("measures/core").measures[name])
    section.pop("use")
    return section


def _cpu_seconds(path: str) -> dict[str, float]:
    """CPU seconds a clip of what is not a core measure, without the loading of networks."""
    there = [task.name for task in _tasks() if task.name in ("text", "alignment", "action")]
    found = {}
    base = _process_seconds(lambda: _measure(path, ()))
    for name in there:
        _measure(path, (name,))
        found[f"measure {name}"] = _process_seconds(lambda n=name: _measure(path, (n,))) - base
    resize = Resizer(SETTINGS.short_side)
    frames = [resize(picture) for _, picture in iterate_pictures(path)]
    found["encoding 18 s"] = _process_seconds(lambda: encode_mp4(frames, FPS))
    return found


def _process_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _clips_per_second(work: Callable[[str], None], clips: list[str]) -> float:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, context, _one_thread) as pool:
        list(pool.map(work, clips[:WORKERS]))  # imports are not counted
        began = time.perf_counter()
        list(pool.map(work, clips))
        return len(clips) / (time.perf_counter() - began)


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _write_clip(film: Path, folder: Path, number: int) -> str:
    import av

    path = folder / f"clip{number:02d}.mp4"
    pictures = iterate_pictures(film, 20.0 + number * 40)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", FPS, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 596, 336, "yuv420p"
        for index, (_, picture) in enumerate(itertools.islice(pictures, SECONDS * FPS)):
            small = picture.reformat(width=596, height=336, format="yuv420p")
            small.pts, small.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(small))
        container.mux(stream.encode())
    return str(path)
