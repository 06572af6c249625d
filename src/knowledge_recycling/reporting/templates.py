"""The Jinja environments of all pages, and how a text is made harmless in each."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")


def escape_markdown(value: Any) -> Any:
    r"""Makes a text mean itself in Markdown, also inside a table; markup is left as it is.

    Example:
        >>> print(escape_markdown("<b>a_b|c"))
        &lt;b&gt;a\_b\|c
    """
    if hasattr(value, "__html__"):
        return value
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(MARKDOWN_SPECIAL.sub(r"\\\1", text))


def css_string(text: str) -> Markup:
    r"""A text for between the double quotes of a style sheet: what is not plain becomes an escape.

    Example:
        >>> print(css_string('a "b"</style>') + ".")
        a \22 b\22 \3c \2f style\3e .
    """
    return Markup("".join(c if c.isalnum() or c in " .,-_" else f"\\{ord(c):x} " for c in text))


def html() -> Environment:
    """Every text put into a page is escaped, and a name that is not there is an error."""
    made = Environment(
        loader=PackageLoader("knowledge_recycling", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["css_string"] = css_string
    return made


def markdown() -> Environment:
    """Every text put into the page passes `escape_markdown`, without the template asking for it."""
    return html().overlay(finalize=escape_markdown)
