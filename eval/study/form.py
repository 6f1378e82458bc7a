"""A participant's page: one file that works offline, and knows no method's name.

The videos lie inside the page, so that one file is all that is handed out, and their order is all
that is left of which is which.
"""

from importlib import resources

from dynamicrafter import pages
from eval.study.design import ASPECTS, SAME, SIDES, Sheet, Shown
from eval.study.material import Media


def form(sheet: Sheet, media: Media, study: str) -> str:
    """The page of a sheet.

    Args:
        sheet: what is shown, in order.
        media: the images and videos.
        study: the study's digest, which the answers carry.
    """
    values = {
        "study": study,
        "participant": sheet.participant,
        "aspects": ASPECTS,
        "letters": SIDES,
        "same": SAME,
        "sides": len(sheet.shown[0].sides),
        "questions": [
            {
                "token": one.token,
                "prompt": media.prompts[one.question.key],
                "image": pages.data_uri(media.images[one.question.key], "image/jpeg"),
                "videos": [pages.data_uri(data, "video/mp4") for data in videos(one, media)],
            }
            for one in sheet.shown
        ],
    }
    style = pages.form_style() + _own("form.css")
    return pages.render("form.html", values, "eval.study", script=_own("form.js"), style=style)


def videos(shown: Shown, media: Media) -> list[bytes]:
    """The videos of a question from left to right."""
    one = shown.question
    return [
        media.scrambled[one.number] if name == one.scrambled else media.videos[one.key, name]
        for name in shown.sides
    ]


def _own(name: str) -> str:
    return resources.files("eval.study").joinpath(name).read_text(encoding="utf-8")
