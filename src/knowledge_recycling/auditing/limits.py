"""Limits on what an audit may find before something is given away: `limits.yaml`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from knowledge_recycling.errors import KRError

NAME = "limits.yaml"
Rate = Annotated[float, Field(ge=0, le=1)]


class Limit(BaseModel):
    """Largest upper bounds of an attack's figures; None: not asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tpr_at_1_fpr: Rate | None = None
    """True-positive rate at a false-positive rate of 1%; 0.01 is guessing."""
    auc: Rate | None = None
    """Area under the attack's ROC curve; 0.5 is guessing."""


class FormalLimit(BaseModel):
    """Largest epsilon and delta of a formal guarantee."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: Annotated[float, Field(gt=0)]
    delta: Rate
    unit: Literal["patient", "image"] = "patient"
    """`patient`: per patient wherever patients are known, else per image."""


class Limits(BaseModel):
    """What is asked for; None: that part is not asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Annotated[tuple[str, ...], Field(min_length=1)] = ("student",)
    """Release channels that must lie within the limits, as audit/result.json names them."""
    records: Limit | None = None
    patients: Limit | None = None
    canaries: Limit | None = None
    copies: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Of the share of members with a copy, less that of non-members."""
    formal: FormalLimit | None = None

    @classmethod
    def load(cls, path: Path | None = None) -> Limits:
        """Reads a limits file; None reads the default.

        Raises:
            KRError: the file cannot be read, or holds an unknown field or another kind of value.
        """
        source = files(__package__).joinpath(NAME) if path is None else path
        try:
            found = cls.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = getattr(error, "strerror", None) or "is no YAML file"
            raise KRError(f"{source}: cannot be read: {reason}") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "the file"
            raise KRError(f"{source}: {field}: {first['msg']}; see docs/release.md") from None
        if not found.asked:
            raise KRError(f"{source}: asks for nothing; give records, canaries or formal, say")
        return found

    @classmethod
    def of_folder(cls, folder: Path) -> Limits:
        """Reads the folder's `limits.yaml`, where there is one; else the default.

        Raises:
            KRError: as `load`.
        """
        path = folder / NAME
        return cls.load(path if path.is_file() else None)

    @property
    def asked(self) -> bool:
        """Whether there is any limit."""
        parts = (self.records, self.patients, self.canaries, self.formal)
        return self.copies is not None or any(part is not None for part in parts)
