"""What only people know about a release, from `release.yaml`; an empty field reads "not stated"."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import write_bytes

NOT_STATED = "not stated"

TEMPLATE = """\
# What only people know about a release. `kr release RUN -o BUNDLE --form release.yaml` puts it into
# the cards as it stands here, for everybody to read. An empty field reads "not stated".

# Name of the model, such as it will be called where it is published.
name:
# Who answers for the release: a person or an institution.
owner:
# Where questions and complaints go, an address that will still be read in some years.
contact:
# What the model is meant for, in a sentence.
purpose:
# What it must not be used for, beside what the card says anyway (it is not a medical device).
not_for:
# On what ground the private images may be processed: consent, an ethics vote, a law.
legal_basis:
# Who set the limits of the gate, and why they are what they are.
limits_set_by:
# Who signs, with date.
signed_by:
# Name of the licence, best an SPDX identifier such as CC-BY-4.0 or MIT.
licence:
# Text of the licence; it becomes the file LICENSE.
licence_text:
# What has changed since the last release.
changes:
"""


def start(path: Path) -> Path:
    """Writes an empty `release.yaml`; returns its path.

    Raises:
        KRError: there is one already.
    """
    if path.exists():
        raise KRError(f"{path}: is there already; nothing was changed")
    write_bytes(path, TEMPLATE.encode())
    return path


class Form(BaseModel):
    """The fields of `release.yaml`, which `TEMPLATE` explains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = NOT_STATED
    owner: str = NOT_STATED
    contact: str = NOT_STATED
    purpose: str = NOT_STATED
    not_for: str = NOT_STATED
    legal_basis: str = NOT_STATED
    limits_set_by: str = NOT_STATED
    signed_by: str = NOT_STATED
    licence: str = NOT_STATED
    licence_text: str = NOT_STATED
    changes: str = NOT_STATED

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_not_stated(cls, value: object) -> object:
        if value is None or (isinstance(value, str) and not value.strip()):
            return NOT_STATED
        return value.strip() if isinstance(value, str) else value

    @classmethod
    def load(cls, path: Path | None) -> Form:
        """Reads `release.yaml`; None: nothing is stated.

        Raises:
            KRError: the file cannot be read, or has an unknown field.
        """
        if path is None:
            return cls()
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = getattr(error, "strerror", None) or "is no YAML file"
            raise KRError(f"{path}: cannot be read: {reason}") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise KRError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
