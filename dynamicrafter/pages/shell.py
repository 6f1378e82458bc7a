"""The page around the content: templates with escaping always on, one style, one script, a policy.

The Content-Security-Policy names the script by its hash, so a script that slips in by any way, even
through a fault in a template, is not run.
"""

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup


def render(
    template: str,
    values: dict[str, Any],
    package: str | None = None,
    *,
    script: str = "",
    style: str = "",
) -> str:
    """Render a template that extends `page.html` to one self-contained page.

    `template` lies in `package`, or in this package where none is named. Every value is escaped
    unless it is a `Markup`. A name that the template uses and `values` lacks raises
    `jinja2.UndefinedError`. A page's own `script` and `style`, written by us and by nobody else,
    follow those that all pages have; the policy names both scripts by one hash.
    """
    script = _own("page.js") + script
    shell = {
        "style": Markup(_own("page.css") + style),
        "script": Markup(script),
        "policy": policy(script),
    }
    return environment(package).get_template(template).render(**shell, **values)


def form_style() -> str:
    """The style of pages on which a person answers: what they share inside `class="form"`."""
    return _own("form.css")


def environment(package: str | None = None) -> jinja2.Environment:
    """The template environment: escaping always on, an undefined name is an error."""
    loaders: list[jinja2.BaseLoader] = [jinja2.PackageLoader("dynamicrafter.pages", "")]
    if package:
        loaders.insert(0, jinja2.PackageLoader(package, ""))
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def policy(script: str) -> str:
    """The Content-Security-Policy of a page whose only script is `script`."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'sha256-{digest}'",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "media-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _own(name: str) -> str:
    return resources.files("dynamicrafter.pages").joinpath(name).read_text(encoding="utf-8")
