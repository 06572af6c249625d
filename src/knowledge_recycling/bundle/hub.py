"""Uploads a bundle to the Hugging Face hub in one commit, private unless asked otherwise."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from knowledge_recycling.bundle import contents
from knowledge_recycling.bundle.facts import Facts
from knowledge_recycling.errors import KRError, printable
from knowledge_recycling.results import read

if TYPE_CHECKING:
    from huggingface_hub import HfApi

KEPT = ".gitattributes"
"""The hub's own file in every repository."""
REASONS = {
    401: "the hub does not know this token",
    403: "this token may not write there; it needs the right to write",
}


@dataclass(frozen=True)
class Repository:
    """A model repository that a bundle may be uploaded to.

    Attributes:
        api: with the user's token.
        name: OWNER/NAME.
        public: whether everybody may see it.
        files: what is in it already.
    """

    api: HfApi
    name: str
    public: bool
    files: frozenset[str]

    def upload(self, bundle: Path) -> str:
        """Makes the repository hold the bundle and nothing else, in one commit; returns its URL.

        Raises:
            KRError: the bundle has changed, its gate is shut without an override, or the hub fails.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        contents.verify(bundle)
        facts = read(bundle / contents.REPORT, Facts)
        if facts.gate.exit_code and not facts.override:
            raise KRError(f"{bundle}: its gate is shut. {facts.gate.sentence} It was not uploaded.")
        names = [*contents.files(bundle), contents.SUMS]
        new = [CommitOperationAdd(path_in_repo=n, path_or_fileobj=bundle / n) for n in names]
        gone = self.files - set(names) - {KEPT}
        old = [CommitOperationDelete(path_in_repo=name) for name in sorted(gone)]
        with _hub_errors(self.name), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Parquet files are unusual beside a model
            self._make_sure_of_visibility()
            message = f"Release of {facts.date} by knowledge-recycling {facts.version}"
            self.api.create_commit(self.name, [*new, *old], commit_message=message)
        return f"{self.api.endpoint}/{self.name}"

    def _make_sure_of_visibility(self) -> None:
        """Creates the repository where it is missing, and asks the hub who may see it."""
        if not self.files and not self.api.repo_exists(self.name):
            self.api.create_repo(self.name, private=not self.public)
        if bool(self.api.model_info(self.name).private) == self.public:
            found, asked = ("private", "public") if self.public else ("public", "private")
            raise KRError(
                f"{self.name}: is {found} on the hub, and {asked} was asked for; change that there "
                "or give another name. Nothing was uploaded."
            )


def repository(name: str, public: bool = False) -> Repository:
    """Looks whether a bundle could be uploaded there; changes nothing.

    Args:
        name: OWNER/NAME, or NAME for one of the token's owner.
        public: whether everybody may see it.

    Raises:
        KRError: a package, the token, the network or the right to write is missing, the name is
            not allowed, or something else than a bundle is there.
    """
    try:
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.errors import RepositoryNotFoundError
    except ImportError:
        raise KRError(
            "the upload needs huggingface_hub: pip install 'knowledge-recycling[hf]'"
        ) from None
    api = HfApi(
        endpoint=os.environ.get("HF_ENDPOINT") or None,
        library_name="knowledge-recycling",
        library_version=version("knowledge-recycling"),
    )
    with _hub_errors(name):
        if get_token() is None:
            raise KRError(
                "there is no token for the Hugging Face hub: run `hf auth login`, or set the "
                "environment variable HF_TOKEN to one that may write"
            )
        owner = api.whoami()["name"]
        name = name if "/" in name else f"{owner}/{name}"
        try:
            siblings = api.model_info(name).siblings or []
        except RepositoryNotFoundError:
            siblings = []
    files = frozenset(sibling.rfilename for sibling in siblings)
    if files - {KEPT} and contents.SUMS not in files:
        raise KRError(
            f"{name}: holds something else than a bundle on the hub; give another name. "
            "Nothing was uploaded."
        )
    return Repository(api, name, public, files)


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    """Turns whatever the hub's client raises into a sentence; no token is in it."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except KRError:
        raise
    except HFValidationError:
        raise KRError(
            f"{printable(name)!r}: is not a name that the hub allows; expected OWNER/NAME or NAME, "
            "at most 96 letters, digits, `-`, `_` and `.`, without `--` or `..`"
        ) from None
    except OfflineModeIsEnabled:
        raise KRError(
            "the hub cannot be reached: HF_HUB_OFFLINE is set; unset it to upload"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = REASONS.get(status) or printable(error.server_message or "no reason given")
        raise KRError(f"{name}: the hub refused with status {status}: {said}") from None
    except Exception as error:  # each transport raises its own: httpx, hf_xet, threads
        raise KRError(
            f"{name}: the hub cannot be reached, or broke off ({type(error).__name__}); check the "
            "network and run the same command again"
        ) from None
