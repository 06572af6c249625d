"""Which columns of a table hold images, labels and patients."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from knowledge_recycling.config import Data
from knowledge_recycling.data.checks import MULTI_LABEL
from knowledge_recycling.data.columns import pick, pick_patient, unused
from knowledge_recycling.data.names import stripped
from knowledge_recycling.data.words import count, listed
from knowledge_recycling.errors import KRError


class Columns(NamedTuple):
    """Names of columns.

    Attributes:
        image: of encoded images.
        label: of one label per image.
        patient: of patients; None where there is none.
        class_names: where labels are codes of known names.
        notes: on the columns that are not read.
    """

    image: str
    label: str
    patient: str | None
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...]


def choose(schema: Any, config: Data, where: str) -> Columns:
    """Finds the columns by what `datasets` noted of them, by their types and names, or as stated.

    Args:
        schema: pyarrow's.
        config: the columns that are stated.
        where: what to call the table in a message.

    Raises:
        KRError: none or several could be meant, or the labels are several per image.
    """
    from pyarrow import types

    noted = _features(schema)
    names = list(schema.names)
    image = pick(names, config.image_column, "data.image_column", None, where)
    image = image or _only(_images(schema, noted), names, "images", "data.image_column", where)
    label = pick(names, config.label_column, "data.label_column", None, where)
    label = label or _only(_labels(schema, noted), names, "labels", "data.label_column", where)
    _check_single(schema, label, where)
    patient = pick_patient(names, config.patient_column, where)
    coded = types.is_integer(schema.field(label).type)
    classes = noted.get(label, _Feature()).names if coded else ()
    return Columns(
        image,
        label,
        patient,
        classes or None,
        tuple(unused(names, [image, label, patient])),
    )


def labels_of(column: Any, columns: Columns, where: str) -> list[str]:
    """Class names of a piece of the column of labels.

    Raises:
        KRError: a label is missing, or is no class.
    """
    values = column.to_pylist()
    names = columns.class_names
    if lost := sum(value is None or value == -1 for value in values):
        raise KRError(f"{where}: {count(lost, 'row')} without a label; give it one, or remove it")
    if names is None:
        return [stripped(str(value)) for value in values]
    if any(not 0 <= value < len(names) for value in values):
        raise KRError(f"{where}: there are {len(names)} class names, and labels beyond them")
    return [names[value] for value in values]


class _Feature(NamedTuple):
    """What `datasets` noted of a column: its kind, and the names of classes."""

    kind: str = ""
    names: tuple[str, ...] = ()


def _features(schema: Any) -> dict[str, _Feature]:
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: _Feature(str(noted.get("_type")), tuple(map(str, noted.get("names") or ())))
            for name, noted in found.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _images(schema: Any, noted: dict[str, _Feature]) -> list[str]:
    by_note = [n for n in schema.names if noted.get(n, _Feature()).kind == "Image"]
    return by_note or [field.name for field in schema if _holds_bytes(field.type)]


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _labels(schema: Any, noted: dict[str, _Feature]) -> list[str]:
    by_note = [n for n in schema.names if noted.get(n, _Feature()).kind == "ClassLabel"]
    return by_note or [n for n in schema.names if n.casefold() in ("label", "labels")]


def _only(found: list[str], names: list[str], what: str, setting: str, where: str) -> str:
    if len(found) == 1:
        return found[0]
    how = f"several columns could hold the {what} ({listed(found)})"
    if not found:
        how = f"no column is seen to hold the {what} (there are {listed(names, 8)})"
    raise KRError(f"{where}: {how}; name it with the setting {setting}=...")


def _check_single(schema: Any, label: str, where: str) -> None:
    from pyarrow import types

    kind = schema.field(label).type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        raise KRError(f"{where}: the column {label} holds several labels per image; {MULTI_LABEL}")
    plain = (types.is_integer, types.is_boolean, types.is_string, types.is_large_string)
    if not any(check(kind) for check in plain):
        raise KRError(f"{where}: the column {label} holds {kind}, which are no labels")
