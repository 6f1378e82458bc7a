"""Shards and run folders of captioned clips, small and really playable."""

import json

from omegaconf import OmegaConf

from curation.captions.caption import Caption, Said
from curation.passes.captions import CAPTIONS, SCHEMA
from curation.passes.dcp_table import write_dcp_csv
from curation.passes.sample import sample_info
from curation.tables import write_rows
from dynamicrafter.shards import Sample, write_shards
from tests.curation.tables_of import row, write_measures
from tests.report_folders import moving_square, mp4

FRAMES = 24  # a second
HOSTILE = '</script><img src=x onerror="alert(1)"><b>running & "jumping"</b>'
CLIPS = (
    # stock caption, motion caption, confidence, category, object motion
    ("Young man in a red shirt running on a beach", "Man running.", 90, "human", 0.08),
    ("Aerial view of waves at sunset", "Waves rolling.", 80, "water", 0.05),
    ("A brown dog in a garden, close up", "Brown dog in a garden.", 70, "animal", 0.001),
    ("Car driving through the city at night", "Car driving.", 20, "vehicle", 0.12),
    ("Empty room", "none", 5, "none", 0.0005),
    (HOSTILE, HOSTILE, 60, "other", 0.03),
    ("Woman dancing in a dark studio", "Woman dancing and turning.", 85, "human", 0.06),
    ("Old man running in a park", "Man running.", 95, "human", 0.09),
)


def rows():
    """Rows of `measures.parquet`, one a clip."""
    for number, (original, _, _, _, motion) in enumerate(CLIPS):
        curve = [motion * (0.5 + 0.1 * i) for i in range(8)]
        yield row(
            f"clip-{number}",
            caption=original,
            source="stock" if number % 2 else "archive",
            frames=FRAMES,
            fps=float(FRAMES),
            codec="h264",
            object_motion=motion,
            motion_curve=curve,
            camera_curve=[0.01] * 8,
        )


def said(number):
    """What was said of a clip."""
    _, wording, confidence, category, _ = CLIPS[number]
    return Caption(wording, confidence, category, wording, "vlm_pixels", "normal", "static")


def samples(may_be_passed_on=True):
    """The clips as they lie in shards."""
    for number, measured in enumerate(rows()):
        info = sample_info(
            measured,
            said(number),
            size=(96, 96),
            may_be_passed_on=may_be_passed_on,
            digests={},
        )
        film = mp4(moving_square(number, FRAMES, 96), FRAMES)
        yield Sample(measured["key"], film, said(number).dynamic_wording, info)


def make_dataset(folder, **passed_on):
    """A dataset folder with two splits."""
    every = list(samples(**passed_on))
    for split, own in (("train", every[:5]), ("test", every[5:])):
        write_shards(folder / "dataset" / split, own, name=split, config_digest="test")
    return folder / "dataset"


def make_run(folder, **passed_on):
    """A run folder with tables, one clip of which nothing good was said, and shards."""
    make_dataset(folder, **passed_on)
    table = [row("unseen"), *rows()]
    write_measures(folder, table)
    found = []
    for number in range(1, len(table)):
        one = Said(said(number - 1))
        own = {"row": number, "key": table[number]["key"], "original": table[number]["caption"]}
        found.append({**own, **one.row()})
    nothing = Said(Caption("none", "none", "none", "none", "vlm_pixels"), reason="impure")
    write_rows(
        folder / CAPTIONS,
        [{"row": 0, "key": "unseen", "original": "none", **nothing.row()}, *found],
        SCHEMA,
    )
    return folder


def make_table(path):
    """The clips as a table with the DCP columns."""
    infos = [json.loads(json.dumps(sample.info)) for sample in samples()]
    write_dcp_csv(path, infos)
    return path


def settings(name, folder, **changes):
    """The settings of a command, as they compose, with `changes`."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("conf", version_base="1.3"):
        config = compose(name, ["tracking=disabled", f"run_dir={folder}", *changes.pop("more", [])])
    OmegaConf.set_struct(config, False)
    config.merge_with(changes)
    return config
