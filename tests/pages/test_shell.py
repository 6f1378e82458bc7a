import base64
import hashlib
import re
from html import unescape

import jinja2
import pytest

from dynamicrafter.pages import Budget, data_uri, shell, together, video
from dynamicrafter.pages.shell import environment, policy

HOSTILE = '</title></script><img src=x onerror="alert(1)">'


def page(content: str) -> str:
    """A page through the real shell, with a title from outside."""
    source = '{% extends "page.html" %}{% block title %}{{ title }}{% endblock %}'
    source += "{% block content %}{{ content }}{% endblock %}"
    own = shell.environment()
    template = own.from_string(source)
    script = shell._own("page.js")
    return template.render(
        style="", script=script, policy=policy(script), title=HOSTILE, content=content
    )


def test_escaping_is_always_on_whatever_the_name_of_the_template():
    assert environment().from_string("{{ x }}").render(x=HOSTILE).count("<") == 0
    assert "<img" not in page(HOSTILE)


def test_an_undefined_name_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ nothing }}").render()


def test_the_policy_names_the_script_by_its_hash_and_forbids_the_rest():
    text = policy("go()")
    digest = base64.b64encode(hashlib.sha256(b"go()").digest()).decode()
    assert text.split("; ")[0] == "default-src 'none'"
    assert f"script-src 'sha256-{digest}'" in text
    assert "media-src data:" in text
    assert "http" not in text
    assert "unsafe" not in text.replace("style-src 'unsafe-inline'", "")


def test_a_script_of_its_own_joins_the_one_script_of_a_page(tmp_path, monkeypatch):
    package = tmp_path / "paged"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "own.html").write_text('{% extends "page.html" %}')
    monkeypatch.syspath_prepend(tmp_path)
    text = shell.render("own.html", {}, "paged", script="go(1 < 2);", style="b > i {}")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script.endswith("go(1 < 2);")
    assert f'content="{policy(script)}"' in unescape(text)
    assert "b > i {}</style>" in text


def test_a_video_carries_its_bytes_and_an_escaped_label():
    html = video(b"mp4", HOSTILE, "<real>")
    assert f'src="{data_uri(b"mp4", "video/mp4")}"' in html
    assert "&lt;real&gt;" in html
    assert "<img" not in html
    assert re.search(r"<video muted loop playsinline controls preload", html)
    assert together([html, html]).count("<video") == 2


def test_data_uri_round_trips():
    data = bytes(range(256))
    assert base64.b64decode(data_uri(data, "x/y").removeprefix("data:x/y;base64,")) == data


def test_the_budget_counts_base64_and_takes_all_or_nothing():
    budget = Budget(16)
    assert budget.take(b"123", b"1234")  # 4 + 8
    assert not budget.take(b"1", b"12345")
    assert budget.left == 4
    assert budget.take(b"1")
