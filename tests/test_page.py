"""Pages are whole by themselves, and nothing that is put into one can become markup."""

from __future__ import annotations

import pytest
from jinja2 import DictLoader, UndefinedError

from exdiff_cli.report import page


@pytest.fixture
def templates(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {
        "name.html": "<p>{{ name }}</p>",
        "data.html": "<script>const data = {{ as_json(data) }};</script>",
        "whole.html": '<style>{{ inlined("own.css") }}</style>',
        "own.css": "a > b { color: red }",
    }
    monkeypatch.setattr(page, "_TEMPLATES", page._TEMPLATES.overlay(loader=DictLoader(pages)))


@pytest.mark.usefixtures("templates")
def test_text_is_escaped() -> None:
    assert page.render("name.html", name="<b>&") == "<p>&lt;b&gt;&amp;</p>"


@pytest.mark.usefixtures("templates")
def test_data_cannot_end_the_script() -> None:
    made = page.render("data.html", data={"file": "</script><img>"})
    assert made.count("</script>") == 1
    assert "<img>" not in made


@pytest.mark.usefixtures("templates")
def test_style_is_inlined_as_it_is() -> None:
    assert page.render("whole.html") == "<style>a > b { color: red }</style>"


@pytest.mark.usefixtures("templates")
def test_what_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        page.render("name.html")
