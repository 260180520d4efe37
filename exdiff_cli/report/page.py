"""Pages that need nothing but themselves: a template with its style and its script inlined."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Environment(
    loader=PackageLoader("exdiff_cli.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def render(template: str, **values: Any) -> str:
    """The page of ``templates/<template>``; what is put into it is escaped.

    In a template, ``inlined("page.css")`` is another file of the folder as it is, and ``as_json(value)`` data for a
    script, with what could end the script or begin markup spelt out.
    """
    return _TEMPLATES.get_template(template).render(inlined=_inlined, as_json=_as_json, **values)


def _inlined(name: str) -> Markup:
    loader = _TEMPLATES.loader
    assert loader is not None
    return Markup(loader.get_source(_TEMPLATES, name)[0])


def _as_json(value: Any) -> Markup:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
