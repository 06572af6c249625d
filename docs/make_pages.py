"""Writes docs/configuration.md and docs/api.md from the docstrings: `python docs/make_pages.py`."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import knowledge_recycling as kr
from knowledge_recycling import config

DOCS = Path(__file__).parent
MADE = "<!-- Made by `python docs/make_pages.py`; edit the docstrings instead. -->"
CONFIGURATION = """\
# Configuration

{made}

Every choice of a run is a field. `kr run DATA -o RUN --dry-run` prints them all;
`--set stage.field=value` sets one, `--config FILE.yaml` many; `config.yaml` in the run directory
holds what was chosen. The order, later over earlier: defaults, preset, file, settings. A misspelt
field is refused with the nearest known name.
"""
API = """\
# Python

{made}

`import knowledge_recycling as kr` offers what the command line can, and loads nothing heavy before
it is needed. Whatever is foreseen raises `kr.KRError` with a sentence to act on.
"""


def configuration() -> str:
    """The page of the configuration: a table of fields per section."""
    parts = [CONFIGURATION.format(made=MADE)]
    for name, field in config.Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, config.Section):
            parts.append(_section(name, section))
    parts.append("## generator\n\nThe fields depend on `generator.method`.\n")
    parts += [_section(f"generator ({name})", m, 3) for name, m in config.METHODS.items()]
    parts.append(_section("top level", config.Config))
    parts.append("## Presets\n\nWhat each sets over the defaults.\n")
    for name, tree in config.PRESETS.items():
        rows = [f"| `{s}.{f}` | `{v}` |" for s, fields in tree.items() for f, v in fields.items()]
        table = "\n".join(["| field | value |", "|---|---|", *rows]) if rows else "The defaults."
        parts.append(f"### {name}\n\n{table}\n")
    return "\n".join(parts)


def _section(name: str, section: type[config.Section], level: int = 2) -> str:
    words = _field_words(section)
    rows = ["| field | default | what it is |", "|---|---|---|"]
    for field, info in section.model_fields.items():
        if isinstance(info.default, config.Section) or field in ("method", "generator"):
            continue
        default = "" if info.is_required() else f"`{info.default!r}`"
        rows.append(f"| `{field}` | {default} | {_cell(words.get(field, ''))} |")
    head = f"{'#' * level} {name}\n\n{inspect.getdoc(section)}\n"
    return f"{head}\n" + ("\n".join(rows) + "\n" if len(rows) > 2 else "It has no fields.\n")


def _field_words(section: type) -> dict[str, str]:
    """Field -> the text below it in the source, those of base classes included."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        if not issubclass(cls, config.Section):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(tree, ast.ClassDef)
        for before, after in zip(tree.body, tree.body[1:], strict=False):
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(before, ast.AnnAssign) and isinstance(text, ast.Constant):
                found[ast.unparse(before.target)] = str(text.value)
    return found


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def api() -> str:
    """The page of the Python interface: every public name with its signature and docstring."""
    return "\n".join([API.format(made=MADE), *(_entry(name) for name in kr.__all__)])


def _entry(name: str) -> str:
    thing = getattr(kr, name)
    about = inspect.getdoc(thing) or ""
    head, _, rest = about.partition("\n")
    signature = "" if inspect.isclass(thing) else f"```text\nkr.{name}{_signature(thing)}\n```\n\n"
    more = f"\n```text\n{rest.strip()}\n```\n" if rest.strip() else ""
    return f"## {name}\n\n{signature}{_cell(head)}\n{more}"


def _signature(thing: Any) -> str:
    """Annotations without the quotes that postponed evaluation puts around them."""
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(thing)))


def pages() -> Iterator[tuple[Path, str]]:
    """Path and text of every page that is made."""
    yield DOCS / "configuration.md", configuration()
    yield DOCS / "api.md", api()


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(DOCS.parent))
