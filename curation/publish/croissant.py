"""`croissant.json`: the files of a dataset for machines, as Croissant 1.0 JSON-LD.

The specification: https://docs.mlcommons.org/croissant/docs/croissant-spec.html. No time, host or
path of this machine is named, so equal datasets have equal descriptions; a date, a citation and a
place to load it from are for whoever publishes it to add.
"""

import csv
from pathlib import Path
from typing import Any

from curation.passes.dcp_table import COLUMNS
from curation.tables import long_cells
from dynamicrafter.files import sha256_file, write_json
from dynamicrafter.shards.writer import MANIFEST

NAME = "croissant.json"
CONFORMS_TO = "http://mlcommons.org/croissant/1.0"

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
DESCRIPTIONS = {
    "videoid": "Id of the clip; its key in the shards where it was cut from a longer one.",
    "contentUrl": "Where the source says that the video is; none where it does not.",
    "duration": "ISO 8601 duration of the clip.",
    "page_dir": "Folder in the layout of WebVid; none where there is none.",
    "name": "Stock caption: what is seen.",
    "dynamic_confidence": "0 to 100: how sure it is that something moves besides the camera.",
    "dynamic_wording": "Motion caption: what moves.",
    "dynamic_source_category": "What moves, as a category; none where it is unknown.",
}


def write_croissant(folder: Path, config: dict[str, Any], summary: dict[str, Any]) -> None:
    """Write the description of a curate run.

    Args:
        folder: the run folder; shards and `dcp.csv` are whole.
        config: the resolved config.
        summary: of the run: `root_digest`, where there is one, stands as the version.
    """
    write_json(folder / NAME, croissant(folder, config, summary))


def croissant(folder: Path, config: dict[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """The description of a curate run as a JSON-LD object."""
    source = config["source"]
    found = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": _name(source["name"]),
        "description": "Clips with stock captions, motion captions and measurements, as WebDataset "
        f"shards, from the source {_one_line(source['name'])}.",
        "distribution": [],
        "recordSet": [],
    }
    if source.get("terms"):
        found["license"] = _one_line(source["terms"])
    if digest := summary.get("root_digest"):
        found["version"] = f"1.0.0+{digest[:16]}"
    for split in sorted(summary["dataset"]):
        found["distribution"] += _shards(folder, split)
    table = folder / "dcp.csv"
    found["distribution"].append(
        {
            "@type": "cr:FileObject",
            "@id": "dcp.csv",
            "name": "dcp.csv",
            "description": "The captions of all clips, in the form of the public DCP release.",
            "contentUrl": "dcp.csv",
            "contentSize": f"{table.stat().st_size} B",
            "encodingFormat": "text/csv",
            "sha256": sha256_file(table),
        }
    )
    types = _types(table)
    found["recordSet"].append(
        {
            "@type": "cr:RecordSet",
            "@id": "clips",
            "name": "clips",
            "description": "One record a clip.",
            "field": [_field(name, types) for name in COLUMNS],
        }
    )
    return found


def _shards(folder: Path, split: str) -> list[dict[str, Any]]:
    manifest = folder / "dataset" / split / MANIFEST
    place = f"dataset/{split}"
    return [
        {
            "@type": "cr:FileObject",
            "@id": f"{split}-manifest",
            "name": f"{split}-manifest",
            "description": f"Sizes and SHA-256 of the shards of the {split} split.",
            "contentUrl": f"{place}/{MANIFEST}",
            "contentSize": f"{manifest.stat().st_size} B",
            "encodingFormat": "application/json",
            "sha256": sha256_file(manifest),
        },
        {
            "@type": "cr:FileSet",
            "@id": f"{split}-shards",
            "name": f"{split}-shards",
            "description": f"WebDataset shards of the {split} split: mp4, txt (the motion caption) "
            f"and json of each clip. {split}-manifest holds the SHA-256 of each.",
            "encodingFormat": "application/x-tar",
            "includes": f"{place}/*.tar",
        },
    ]


def _field(name: str, types: dict[str, str]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"clips/{name}",
        "name": name,
        "description": DESCRIPTIONS[name],
        "dataType": types.get(name, "sc:Text"),
        "source": {"fileObject": {"@id": "dcp.csv"}, "extract": {"column": name}},
    }


@long_cells()
def _types(table: Path) -> dict[str, str]:
    """Types of the columns that are no text; a confidence is one as soon as one is `none`."""
    kind = "sc:Integer"
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            value = row["dynamic_confidence"]
            if value.isascii() and value.isdigit():
                continue
            try:
                float(value)
            except ValueError:
                return {}
            kind = "sc:Float"
    return {"dynamic_confidence": kind}


def _name(source: str) -> str:
    """A name of letters, digits and dashes, as Croissant wants it."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in source).split()
    return "-".join(["dcp", *words])[:100]


def _one_line(text: str) -> str:
    return " ".join(str(text).split())[:500]
