"""Prompts: versioned files of texts, and the messages that they make.

The long instruction comes first and is the same for every clip, so a server that caches prefixes
reads it once. What comes from a clip is put in as data: cut, cleaned, between marks.
"""

import re
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from curation.tables import digest_rows
from dynamicrafter.errors import InputError

MODES = ("pixels", "text")
CAPTION_CHARACTERS = 500

_FOLDER = files("curation.captions") / "prompts"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+"
)


@dataclass(frozen=True)
class Prompt:
    """The texts of a prompt; see curation/captions/prompts/dcp_v1.yaml.

    Attributes:
        name: of the prompt, with its version.
        mode: `pixels`: asked with frames; `text`: asked with the stock caption alone.
        system: the instruction.
        user: the question; `{caption}` is the stock caption.
        hint: what is said of a camera that was measured, after the frames; `{camera}`.
        ask_again_words: when words are refused; `{words}` are they.
        ask_again: when an answer is refused for anything else; `{reason}`.
    """

    name: str
    mode: str
    system: str
    user: str
    hint: str
    ask_again_words: str
    ask_again: str

    @property
    def digest(self) -> str:
        """16 hex digits for all of its texts."""
        return digest_rows(asdict(self))

    @property
    def label(self) -> str:
        """`name@` and 8 digits of the digest, as it stands beside each caption."""
        return f"{self.name}@{self.digest[:8]}"

    def messages(
        self, media: list[dict[str, Any]], caption: str, camera: str | None
    ) -> list[dict[str, Any]]:
        """What a model is asked first.

        Args:
            media: the parts that show frames; none in `text` mode.
            caption: the stock caption.
            camera: `moves` or `stands still`, None where it was not measured.
        """
        text = self.user.strip().replace("{caption}", quoted(caption))
        parts: list[dict[str, Any]] = [{"type": "text", "text": text}, *media]
        if camera is not None and self.hint.strip():
            hint = self.hint.strip().replace("{camera}", camera)
            parts.append({"type": "text", "text": hint})
        return [
            {"role": "system", "content": self.system.strip()},
            {"role": "user", "content": parts},
        ]

    def complaint(self, reason: str, words: tuple[str, ...]) -> str:
        """What a model is told of an answer that was refused."""
        if words:
            return self.ask_again_words.strip().replace("{words}", ", ".join(words))
        return self.ask_again.strip().replace("{reason}", reason.replace("_", " "))


def read_prompt(name: str) -> Prompt:
    """The prompt of a name, or in a file.

    Args:
        name: of a file of curation/captions/prompts without its ending, or a path to a YAML file.

    Raises:
        InputError: there is none, or it is no prompt.
    """
    import yaml

    known = _NAME.fullmatch(name) is not None
    path = _FOLDER / f"{name}.yaml" if known else Path(name)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        names = sorted(item.name.removesuffix(".yaml") for item in _FOLDER.iterdir())
        remedy = f"choose {', '.join(names)} or give the path of a YAML file"
        raise InputError(f"captioner.prompt={name} cannot be read ({error}); {remedy}") from None
    wanted = {field.name for field in fields(Prompt)}
    if not isinstance(found, dict) or set(found) != wanted:
        raise InputError(f"captioner.prompt={name} must hold exactly {', '.join(sorted(wanted))}")
    if wrong := [key for key, text in found.items() if not isinstance(text, str)]:
        raise InputError(f"captioner.prompt={name}: {wrong[0]} is no text")
    if found["mode"] not in MODES or not _NAME.fullmatch(found["name"]):
        raise InputError(
            f"captioner.prompt={name}: mode must be one of {', '.join(MODES)}, and the name match "
            f"{_NAME.pattern}"
        )
    if found["mode"] == "text" and "{caption}" not in found["user"]:
        raise InputError(f"captioner.prompt={name}: user has no place for {{caption}}")
    return Prompt(**found)


def quoted(caption: str) -> str:
    """A stock caption as data: one line, at most 500 characters, without what could end its marks.

    Angle brackets become parentheses, so no caption can close the mark that it stands in.
    """
    line = " ".join(_UNSEEN.sub(" ", caption).split())
    return line[:CAPTION_CHARACTERS].translate({ord("<"): "(", ord(">"): ")"})
