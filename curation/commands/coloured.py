"""Captions whose words are coloured by their class, for pages; the text stays text."""

from importlib import resources

from markupsafe import Markup

from curation.purity.score import tokens

CLASSES = {
    "MOTION": "motion",
    "SUBJECT": "subject",
    "SCENE": "scene",
    "APPEARANCE": "appearance",
    "MEDIA": "media",
    "CAMERA": "camera",
}


def coloured(text: str) -> Markup:
    """`text`, escaped, with a span about each word of a class and one about the whole."""
    parts, end = [], 0
    for token in tokens(text):
        name = CLASSES.get(token.kind)
        if name is not None:
            parts.append(Markup("{}").format(text[end : token.start]))
            parts.append(_word(text[token.start : token.end], name))
            end = token.end
    return Markup("<span>{}{}</span>").format(Markup("").join(parts), text[end:])


def legend() -> Markup:
    """The names of the classes in their colours."""
    words = [_word(name, name) for name in CLASSES.values()]
    return Markup('<p class="key legend">Words: {}</p>').format(Markup(" ").join(words))


def style() -> str:
    """The style of the words, for `pages.render`."""
    return resources.files("curation.commands").joinpath("coloured.css").read_text("utf-8")


def _word(text: str, name: str) -> Markup:
    return Markup('<span class="word {}" title="{}">{}</span>').format(name, name, text)
