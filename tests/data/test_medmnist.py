from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling.config import Data
from knowledge_recycling.data import medmnist, open_source
from knowledge_recycling.errors import KRError
from tests.data.conftest import noise

Save = Callable[[dict[str, Any]], str]
BREAST = ("malignant", "normal, benign")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own home folder, and an address at which nobody answers."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("KR_MEDMNIST_URL", "http://127.0.0.1:9/files")
    return tmp_path / "home"


@pytest.fixture
def server(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A loopback server; the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("KR_MEDMNIST_URL", f"http://127.0.0.1:{httpd.server_port}")
    yield folder
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def publish(monkeypatch: pytest.MonkeyPatch, name: str, size: str, content: bytes) -> None:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(medmnist.table()[name]["md5"], size, md5)


def test_table() -> None:
    table = medmnist.table()
    assert table["breastmnist"]["md5"]["28"] == "750601b1f35ba3300ea97c75c52ff8f6"
    assert table["retinamnist"]["md5"]["28"] == "bd4c0672f1bba3e3a89f0e4e876791e4"
    usable = [facts for facts in table.values() if "md5" in facts]
    assert len(usable) == 11
    assert all(set(facts["md5"]) == {"28", "64", "128", "224"} for facts in usable)
    assert medmnist.class_names("breastmnist_64") == BREAST
    assert medmnist.class_names("chestmnist") is None
    assert medmnist.class_names("mine") is None


@pytest.mark.parametrize(("name", "size"), [("breastmnist", "28"), ("breastmnist_64", "64")])
def test_download_then_cache(
    save: Save,
    official: dict[str, Any],
    server: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    size: str,
) -> None:
    content = Path(save(official)).read_bytes()
    publish(monkeypatch, "breastmnist", size, content)
    (server / f"{name}.npz").write_bytes(content)
    source = open_source(Data(source=name))
    assert (source.name, source.class_names) == (name, BREAST)
    assert source.notes == ("class names are MedMNIST's, by the file's name",)
    assert (home / ".medmnist" / f"{name}.npz").read_bytes() == content
    (server / f"{name}.npz").unlink()
    assert open_source(Data(source=name)).sha256 == source.sha256


def test_wrong_checksum_keeps_nothing(server: Path, home: Path) -> None:
    (server / "breastmnist.npz").write_bytes(b"cut off")
    with pytest.raises(KRError, match=r"breastmnist.npz\?download=1: has not the published checks"):
        open_source(Data(source="breastmnist"))
    assert not list((home / ".medmnist").iterdir())


def test_without_network(home: Path) -> None:
    with pytest.raises(KRError) as error:
        open_source(Data(source="breastmnist_64"))
    message = str(error.value)
    assert message.startswith("breastmnist_64.npz could not be downloaded (")
    assert "fetch http://127.0.0.1:9/files/breastmnist_64.npz?download=1 on a machine" in message
    assert f"put it at {home}/.medmnist/breastmnist_64.npz" in message


def test_not_found_on_the_server(server: Path) -> None:
    with pytest.raises(KRError, match=r"could not be downloaded \(HTTP Error 404"):
        open_source(Data(source="breastmnist"))


def test_an_unofficial_file_in_the_cache_is_noted(
    save: Save, official: dict[str, Any], home: Path
) -> None:
    (home / ".medmnist").mkdir(parents=True)
    Path(save(official)).rename(home / ".medmnist" / "pneumoniamnist.npz")
    notes = open_source(Data(source="pneumoniamnist")).notes
    assert "the file in the MedMNIST cache has not the published checksum" in notes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "chestmnist",
            "chestmnist holds several labels per image; multi-label sets are not supported yet",
        ),
        ("organmnist3d", "organmnist3d holds 3-D volumes, which is not supported"),
        ("breastmnist_32", "breastmnist is published with 28, 64, 128, 224 pixels, not with 32"),
    ],
)
def test_sets_that_cannot_run(home: Path, name: str, message: str) -> None:
    with pytest.raises(KRError, match=message):
        open_source(Data(source=name))


def test_names_only_where_the_number_of_classes_agrees(tmp_path: Path) -> None:
    images = noise(12, 8, 8)
    np.savez(tmp_path / "breastmnist.npz", images=images, labels=np.arange(12) % 3)
    source = open_source(Data(source=str(tmp_path / "breastmnist.npz")))
    assert source.class_names == ("0", "1", "2")
