"""The CPU seconds that `curate plan` foretells from a third of the clips, beside what all take."""

import tempfile
from pathlib import Path

import cv2

from curation.commands.plan import PLAN
from dynamicrafter.command import run_in_folder
from dynamicrafter.files import read_json
from tests.bench.timing import Row
from tests.curation.whole_run import CLIPS, config, curate_all, write_corpus


def rows() -> list[Row]:
    """Clips a CPU second, foretold and found: a ratio of 1 is a plan that came true."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = folder / "films"
        films.mkdir()
        write_corpus(films)
        settings = config(films, folder / "plan")
        run_in_folder(settings, "curation.commands.plan")
        foretold = 3600 * read_json(folder / "plan" / PLAN)["core_hours"]["value"]
        curate_all(settings, folder / "warm", slice(1, 2))  # loads libraries
        seconds, _, _ = curate_all(settings, folder / "all")
    found = CLIPS / sum(seconds.values())
    return [Row("curation as planned", CLIPS / foretold, "clips", "as it went", found)]
