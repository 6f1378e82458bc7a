"""`dynamicrafter eval study`: blind pages that ask people which method's video is best.

<run_dir>/pages/<participant>.html   to be given out, one to a person
<run_dir>/key.json                   which video is whose; it stays at home
"""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dynamicrafter import files
from dynamicrafter.command import say
from dynamicrafter.errors import InputError
from eval.study.design import ASPECTS, Sheet, checks, questions, sheets
from eval.study.form import form
from eval.study.material import (
    Encoding,
    find_source,
    open_methods,
    prepare,
    read_inputs,
    shared_keys,
)

KEY, PAGES = "key.json", "pages"


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the methods' videos and of the images.

    Raises:
        InputError: a folder that is not there, or nothing in it.
    """
    methods = open_methods(config.methods)
    found = {f"method {method.name}": method.digest for method in methods}
    return found | {"images": find_source(config, methods).digest()}


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Write the pages and the key into `folder`.

    `config`: conf/eval_study.yaml.

    Raises:
        InputError: settings, videos or images that cannot be used; pages that would be too large.
    """
    methods = open_methods(config.methods)
    items = read_inputs(find_source(config, methods), methods, config.short_side)
    keys, left_out = shared_keys(methods, items, config.allow_incomplete)
    names = [method.name for method in methods]
    asked = questions(keys, names, config.compare, config.questions, config.seed)
    checked = checks(asked, config.checks, config.seed)
    encoding = Encoding(config.short_side, config.seconds, config.crf)
    media = prepare(asked, checked, methods, items, encoding, config.seed, config.workers)
    content = files.sha256_json(
        [
            [[*place, files.sha256_bytes(data)] for place, data in sorted(media.videos.items())],
            [[key, files.sha256_bytes(data)] for key, data in sorted(media.images.items())],
            media.prompts,
        ]
    )
    made = sheets(asked, checked, config.participants, config.seed, content)
    key = key_of(made, names, config.compare)
    study = files.sha256_json([content, key])[:16]

    shutil.rmtree(folder / PAGES, ignore_errors=True)  # of a run that was stopped
    largest = 0
    for sheet in made:
        page = form(sheet, media, study)
        largest = max(largest, len(page))
        if largest > config.megabytes * 1e6:
            raise InputError(
                f"a page would have {largest / 1e6:.1f} MB, and megabytes={config.megabytes}; "
                "pass fewer questions, a smaller short_side or a larger crf, or more megabytes"
            )
        files.write_text(folder / PAGES / f"{sheet.participant}.html", page)
    files.write_json(folder / KEY, {"study": study, "left_out": left_out, **key})
    for reason, count in Counter(left_out.values()).items():
        say(f"warning: {count} inputs are left out: {reason}")
    say(f"give out {folder / PAGES}, one page to a person; {KEY} stays at home")
    return {
        "study": study,
        "questions": len(asked),
        "checks": len(checked),
        "pages": len(made),
        "megabytes_of_a_page": round(largest / 1e6, 2),
        "left_out": len(left_out),
    }


def key_of(made: list[Sheet], methods: list[str], compare: str) -> dict[str, Any]:
    """Which video is whose: what `eval study-score` reads the answers with."""
    return {
        "aspects": list(ASPECTS),
        "methods": methods,
        "compare": compare,
        "sheets": [
            {
                "participant": sheet.participant,
                "questions": [
                    {
                        "token": one.token,
                        "number": one.question.number,
                        "key": one.question.key,
                        "sides": list(one.sides),
                        "scrambled": one.question.scrambled,
                    }
                    for one in sheet.shown
                ],
            }
            for sheet in made
        ],
    }
