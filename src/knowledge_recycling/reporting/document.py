"""What a chapter is made of: plain blocks that the HTML and the Markdown template both render."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        text: what it says.
        note: a smaller second line, such as an interval.
        share: length of a bar behind the text, in [0, 1]; None draws no bar.
        tone: `bad` sets the cell off, empty does not.
    """

    text: str
    note: str = ""
    share: float | None = None
    tone: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG with its words.

    Args:
        name: file name under `figures/`, without suffix; never made from a user's text.
        png: the file's bytes.
        alt: what the picture shows, for those who cannot see it.
        title: heading above it, may be empty.
        caption: how to read it, may be empty.
    """

    name: str
    png: bytes
    alt: str
    title: str = ""
    caption: str = ""

    @property
    def uri(self) -> str:
        """The picture as a data URI, so that the page loads nothing."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Heading:
    """A heading inside a chapter."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Notice:
    """A box. `tone` is `warning` or `danger`."""

    kind: ClassVar[str] = "notice"
    title: str
    text: str
    tone: str = "warning"


@dataclass(frozen=True)
class Table:
    """A table whose first column holds the row headers.

    Args:
        caption: what it holds.
        head: the columns' names.
        rows: as many cells in each as `head` has.
        folded: closed until opened.
        prose: the last column holds words, which are set flush left.
        words: all columns hold words.
    """

    kind: ClassVar[str] = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    prose: bool = False
    words: bool = False


@dataclass(frozen=True)
class Gallery:
    """Figures side by side, one below the other on a phone."""

    kind: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Strip:
    """The images of one class: a row of synthetic ones and, where asked for, one of real ones."""

    label: str
    note: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Strips:
    """Rows of images, one for each class."""

    kind: ClassVar[str] = "strips"
    rows: Sequence[Strip]


@dataclass(frozen=True)
class Step:
    """Something to do; `command` may be empty."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Steps:
    """A numbered list, each with the command that does it."""

    kind: ClassVar[str] = "steps"
    steps: Sequence[Step]


@dataclass(frozen=True)
class Items:
    """A list."""

    kind: ClassVar[str] = "items"
    texts: Sequence[str]


@dataclass(frozen=True)
class Terms:
    """A list of (term, meaning)."""

    kind: ClassVar[str] = "terms"
    terms: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Text in a typewriter face, folded."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


Block = Heading | Text | Notice | Table | Gallery | Strips | Steps | Items | Terms | Code


@dataclass(frozen=True)
class Chapter:
    """A titled sequence of blocks; `anchor` is its id in the page."""

    anchor: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)

    def pictures(self) -> Iterator[Picture]:
        """Every picture of the chapter, in order."""
        for block in self.blocks:
            if isinstance(block, Gallery):
                yield from block.pictures
            elif isinstance(block, Strips):
                for row in block.rows:
                    yield from row.pictures


def class_cell(index: int, name: str) -> Cell:
    """A class by its name, and its number where the name is another.

    Example:
        >>> class_cell(3, "3").note, class_cell(3, "nevus").note
        ('', 'class 3')
    """
    return Cell(name, f"class {index}" if name != str(index) else "")


def cells(*texts: str) -> list[Cell]:
    """A row of plain cells.

    Example:
        >>> cells("a", "b")[1].text
        'b'
    """
    return [Cell(text) for text in texts]


def not_run(anchor: str, title: str, stage: str) -> Chapter:
    """The chapter of a stage that has left no result."""
    return Chapter(anchor, title, [Text(f"{stage}: not run.")])
