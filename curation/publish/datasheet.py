"""`DATASHEET.md`: what a dataset is, asked and answered after Gebru et al. (2021).

All of it is taken from the run; what the run does not know is said to be unknown. The sheet is a
function of the result: it names no time, host or path. Captions and names are other people's text
and are escaped.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from curation.passes.decide import FUNNEL
from curation.passes.filters import OPTED_OUT, threshold_names
from curation.passes.gather import TABLE
from curation.publish.datasheet_facts import Measured, Samples, measures_of_kept, samples_of
from curation.tables import read_note
from dynamicrafter.files import read_json, write_text
from dynamicrafter.runs import RUN

NAME = "DATASHEET.md"
SHOWN = 20
PACKAGES = (
    "dynamicrafter-toolkit",
    "av",
    "opencv-python-headless",
    "numpy",
    "torch",
    "open_clip_torch",
    "rapidocr-onnxruntime",
    "scenedetect-headless",
    "ImageHash",
    "pyarrow",
    "webdataset",
)
UNKNOWN = "unknown"

_BREAKS = re.compile("[\x00-\x20\x7f-\xa0\u2028\u2029]+")
_MARKS = re.compile(r"([\\`*_\[\](){}#|~$:@!])")
_CODE = re.compile(r"[A-Za-z0-9_.+-]{1,128}")
_LONGEST = 200


def escape(text: Any) -> str:
    """A text as it stands in one line of Markdown, whatever it holds."""
    line = _BREAKS.sub(" ", str(text)).strip()
    line = line.encode("utf-8", "replace").decode()
    if len(line) > _LONGEST:
        line = line[: _LONGEST - 1] + "…"
    line = _MARKS.sub(r"\\\1", line)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(name: Any) -> str:
    """A name in the type of code, if it is one; any other text as `escape` gives it."""
    return f"`{name}`" if _CODE.fullmatch(str(name)) else escape(name)


def write_datasheet(folder: Path, config: dict[str, Any], summary: dict[str, Any]) -> None:
    """Write the datasheet of a curate run.

    Args:
        folder: the run folder; tables, funnel and shards are whole.
        config: the resolved config.
        summary: of the run: `dataset`, and `root_digest` where there is one.
    """
    samples = samples_of(folder)
    measures = measures_of_kept(folder)
    begun = read_json(folder / RUN) if (folder / RUN).exists() else {}
    funnel = read_json(folder / FUNNEL)
    absent = json.loads(read_note(folder / TABLE, "absent"))
    parts = [
        f"# Datasheet: clips with motion captions from {escape(config['source']['name'])}",
        "After Gebru et al., *Datasheets for Datasets*. Written by the run that made the dataset, "
        f"from what it counted. What it cannot know is marked *{UNKNOWN}*.",
        _motivation(),
        _composition(samples, summary, funnel),
        _measures(measures, absent),
        _biases(samples, measures),
        _collection(samples, config),
        _processing(funnel, config, samples, begun),
        _uses(funnel),
        _distribution(samples, config, summary),
        _maintenance(funnel),
    ]
    write_text(folder / NAME, "\n\n".join(parts) + "\n")


def _motivation() -> str:
    return f"""\
## Motivation

**For what purpose was the dataset created?** To train and judge models that animate an image after
a text. Each clip has two captions: the stock caption, which tells what is seen, and a motion
caption, which tells what moves; and a confidence, 0 to 100, that something moves besides the
camera.

**Who created it, and who paid for it?** {UNKNOWN}: whoever ran the curation."""


def _composition(samples: Samples, summary: dict[str, Any], funnel: dict[str, Any]) -> str:
    splits = [
        [name, _count(part["samples"]), _count(part["frames"]), code(part["root_digest"])]
        for name, part in summary["dataset"].items()
    ]
    held = {
        "video": "all that was cut from a source video lies in one split",
        "clip": "all shots of a clip lie in one split; clips of one video may lie in both",
        "shot": "each shot has its own; shots of one clip may lie in both",
    }[funnel["split_by"]]
    categories = [[escape(name), _count(n)] for name, n in samples.categories.most_common(SHOWN)]
    return f"""\
## Composition

**What do the instances represent?** Shots of videos, H.264 without sound, with two captions,
measurements and the identity of their source. There are {_count(samples.count)} of them,
{samples.seconds / 3600:.2f} hours in all.

{_table(["split", "clips", "frames", "digest of the shards"], splits)}

**Are there recommended splits?** Yes, by a hash: {held}.

**Sizes.** Most common picture: {_first(samples.sizes)} pixels; frame rate: {_first(samples.rates)}
frames/s.

**Is any information missing?** {_count(samples.no_caption)} clips have no stock caption and
{_count(samples.no_wording)} no motion caption; both say `none`.

**Categories**, as the captioner or the source states them:

{_table(["category", "clips"], categories)}

**Does the dataset contain data that might be offensive, or that identifies people?** {UNKNOWN}.
People may be seen in the clips; no faces were sought, and nobody looked at every clip.

**Is it a sample of a larger set?** Of what the source lists; what was left out, and why, stands
under *Preprocessing*. Errors and redundancy: near copies were sought by perceptual hashes only."""


def _measures(measures: Sequence[Measured], absent: dict[str, str]) -> str:
    rows = []
    for one in measures:
        found = one.spread.quantiles([0.05, 0.5, 0.95])
        figures = [f"{value:.4g}" for value in found] if found else [UNKNOWN] * 3
        if found and one.is_flag:
            figures = ["–", f"{100 * one.true / one.spread.count:.1f} % yes", "–"]
        rows.append([code(one.name), escape(one.unit), *figures, _count(one.unknown)])
    text = "### What was measured of the clips\n\n" + _table(
        ["measure", "unit", "5 %", "median", "95 %", "clips without a value"], rows
    )
    if absent:
        missing = [f"- {code(name)}: {escape(reason)}" for name, reason in sorted(absent.items())]
        text += "\n\nWanted and not measured:\n\n" + "\n".join(missing)
    return text


def _biases(samples: Samples, measures: Sequence[Measured]) -> str:
    marked = next((one for one in measures if one.name == "watermark"), None)
    if marked is None or not marked.spread.count:
        watermarks = f"{UNKNOWN}, since it was not measured"
    else:
        watermarks = f"{100 * marked.true / marked.spread.count:.1f} % of the clips looked at"
    return f"""\
### Known biases

Counts are of clips whose caption has the word at least once; the words were counted as they stand.

- **Motion**, words in *-ing* of the motion captions: {_words(samples.doing.most_common(SHOWN))}
- **Subjects**, words of the stock captions: {_words(samples.words.most_common(SHOWN))}
- **Gendered words** in either caption: {_count(samples.female)} clips with a female one
  (*she, woman, girl, …*), {_count(samples.male)} with a male one (*he, man, boy, …*)
- **Watermarks**: {watermarks}
- **Motion captions** are no better than what they were made from; see *Preprocessing*."""


def _collection(samples: Samples, config: dict[str, Any]) -> str:
    source = config["source"]
    rows = []
    for name, count in samples.sources.most_common(SHOWN):
        terms = escape(source.get("terms") or UNKNOWN) if name == source["name"] else UNKNOWN
        may = samples.may_leave[name]
        leave = "yes" if may == count else "no" if not may else f"{_count(may)} clips of it"
        rows.append([escape(name), _count(count), terms, leave])
    licences = [[escape(name), _count(n)] for name, n in samples.licences.most_common(SHOWN)]
    stated = (
        _table(["licence, as the source states it", "clips"], licences)
        if licences
        else f"Licences of single clips: {UNKNOWN}; the source states none."
    )
    return f"""\
## Collection

**How was the data acquired?** It was not: the curation reads videos that are there already, listed
by a source of the kind {code(source.get("kind", UNKNOWN))}.

{_table(["source", "clips", "terms", "media may be passed on"], rows)}

{stated}

**Were the people in the videos asked?** {UNKNOWN}."""


def _processing(
    funnel: dict[str, Any], config: dict[str, Any], samples: Samples, begun: dict[str, Any]
) -> str:
    columns = ("in", "dropped", "out", "unknown")
    steps = [
        [code(step["name"]), *(_count(step[name]) for name in columns)] for step in funnel["steps"]
    ]
    reasons = [
        [code(name), _count(count)]
        for name, count in sorted(funnel["reasons"].items(), key=lambda item: (-item[1], item[0]))
    ]
    filters = config["filters"]
    thresholds = [[code(name), _threshold(filters.get(name))] for name in threshold_names()]
    digests = [
        [escape(step), ", ".join(code(name) for name, _ in names.most_common(3))]
        for step, names in sorted(samples.digests.items())
    ]
    captioners = ", ".join(
        f"{code(name)} ({_count(n)} clips)" for name, n in samples.captioners.most_common(SHOWN)
    )
    there = {_plain(name): version for name, version in begun.get("packages", {}).items()}
    versions = [["python", escape(begun.get("python", UNKNOWN))]]
    for name in PACKAGES:
        missing = "not installed" if there else UNKNOWN
        versions.append([code(name), escape(there.get(_plain(name), missing))])
    return f"""\
## Preprocessing

Videos are cut into shots, measured, filtered, encoded and captioned. Each step looks at what the
one before has left; *without a value* counts shots that a step could not judge.

{_table(["step", "in", "dropped", "out", "without a value"], steps)}

Why shots were dropped:

{_table(["reason", "shots"], reasons)}

Thresholds; their units stand in the table of measures:

{_table(["threshold", "value"], thresholds)}

**Who wrote the motion captions?** {captioners or UNKNOWN}. `embedded` words speed and direction as
measured; `stated` takes over what the source says; `vlm_pixels` is a model that saw frames, and
`vlm_text` one that read the stock caption alone.

Digests of the steps, by which a result can be told from others:

{_table(["step", "digest"], digests)}

{_table(["software", "version"], versions)}

Revision of the toolkit: {code(begun.get("revision", UNKNOWN))}. Was the raw data saved? It stays
where it was; the shards hold re-encoded clips."""


def _uses(funnel: dict[str, Any]) -> str:
    held = {"video": "videos", "clip": "clips", "shot": "shots"}[funnel["split_by"]]
    return f"""\
## Uses

**What is it for?** Image animation, motion captioning, and the study of both. Held out are {held}:
no score on the test split tells more than how a model does on {held} that it has not seen.

**What should it not be used for?** To identify people, or to imitate them; and whatever the terms
of the source forbid.

**Has it been used already?** {UNKNOWN}."""


def _distribution(samples: Samples, config: dict[str, Any], summary: dict[str, Any]) -> str:
    may = samples.may_leave.total()
    if samples.count and may == samples.count:
        media = "The media of all clips may be passed on, as their source states."
    elif may:
        media = f"The media of {_count(may)} of {_count(samples.count)} clips may be passed on."
    else:
        media = (
            "The media may **not** be passed on, as far as the source states; the tables may say "
        )
        media += "what its terms allow."
    digest = summary.get("root_digest")
    source = config["source"]
    return f"""\
## Distribution

{media} Terms of {code(source["name"])}: {escape(source.get("terms") or UNKNOWN)}.
The licence of the captions and measurements: {UNKNOWN}; whoever publishes them says so.

Digest of the whole result: {code(digest or UNKNOWN)}. `croissant.json` describes the
files for machines."""


def _maintenance(funnel: dict[str, Any]) -> str:
    out = next((step["dropped"] for step in funnel["steps"] if step["name"] == OPTED_OUT), 0)
    return f"""\
## Maintenance

**Who maintains it, and where are errors reported?** {UNKNOWN}.

**Can people have their clips taken out?** Yes: `dynamicrafter curate opt-out` takes clips out of
the shards, the tables and the run, and later runs leave them out. So far {_count(out)} shots were.

**Will older versions be kept?** {UNKNOWN}. The same sources, settings and software give the same
bytes."""


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(row) for row in rows] or [" | ".join("–" for _ in columns)]
    return "\n".join(f"| {line} |" for line in lines)


def _threshold(value: Any) -> str:
    if value is None or value is False:
        return "off"
    return "on" if value is True else escape(value)


def _plain(name: str) -> str:
    """A package's name as its index compares it."""
    return name.casefold().replace("_", "-")


def _words(found: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{escape(word)} {_count(n)}" for word, n in found) or "none"


def _first(names: Any) -> str:
    found = names.most_common(1)
    return f"{escape(found[0][0])} ({_count(found[0][1])} clips)" if found else UNKNOWN


def _count(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")
