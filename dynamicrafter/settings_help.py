"""`dynamicrafter <verb> --help`: the verb's settings as its configuration files explain them."""

from importlib import resources
from importlib.resources.abc import Traversable

import yaml

FOOTER = """\
Change a setting with name=value, one of a group with group.name=value, a whole group with
group=option. --cfg job shows the settings that a command line comes to; --hydra-help has more.
W&B runs offline; tracking=online uploads it (WANDB_API_KEY), tracking=disabled leaves it out.
"""


def settings_help(config_name: str) -> str:
    """The primary file of a verb with its comments, then the groups that it takes by default."""
    conf = resources.files("conf")
    text = _read(conf / f"{config_name}.yaml")
    parts = [_without_defaults(text)]
    for entry in yaml.safe_load(text)["defaults"]:
        if not isinstance(entry, dict):
            continue
        ((group, option),) = entry.items()
        if group.startswith("override "):
            continue
        folder = conf / group
        names = sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml"))
        parts.append(f"# -- {group}={option}   (there are: {', '.join(names)})")
        if option not in names:  # no default: the person chooses
            continue
        parts.append(_indented(group, _without_defaults(_read(folder / f"{option}.yaml"))))
    return "\n".join([*parts, FOOTER])


def _read(file: Traversable) -> str:
    return file.read_text(encoding="utf-8")


def _without_defaults(text: str) -> str:
    """A YAML text without its defaults list, which is about files and not about settings."""
    kept, inside = [], False
    for line in text.splitlines():
        inside = line.startswith("defaults:") or (inside and line[:1] in (" ", "-"))
        if not inside:
            kept.append(line)
    return "\n".join(kept).strip() + "\n"


def _indented(group: str, text: str) -> str:
    lines = (f"  {line}" if line and line[0] != "#" else line for line in text.splitlines())
    return "\n".join([f"{group}:", *lines]) + "\n"
