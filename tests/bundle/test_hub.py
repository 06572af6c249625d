"""Uploads to a stub of the Hugging Face hub on this machine, spoken to by the hub's own client."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import ModelCard, constants

import knowledge_recycling as kr
from knowledge_recycling.bundle import contents
from tests.bundle.conftest import Released
from tests.bundle.test_predictor import command

TOKEN = "hf_plantedtoken77"


class Hub(ThreadingHTTPServer):
    """What the hub's interface answers, and what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories: dict[str, dict[str, Any]] = {}
        """Name -> private, files (path -> bytes), commits."""
        self.blobs: dict[str, bytes] = {}
        self.refuses = 0
        """Status with which everything is answered; 0: as the hub does."""


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._route()

    do_POST = do_PUT = do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _route(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunked()
        path = self.path.split("?")[0]
        if path.startswith("/blob/"):
            self.server.blobs[path.removeprefix("/blob/")] = body
            return self._send({})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send({"error": "Invalid token"}, 401)
        if self.server.refuses:
            return self._send({"error": "The stub refuses."}, self.server.refuses)
        if path == "/api/whoami-v2":
            return self._send({"name": "clinic", "type": "user"})
        if path == "/api/validate-yaml":
            return self._send({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if match := re.fullmatch(r"/api/models/([\w./-]+?)/(preupload|commit)/main", path):
            return getattr(self, f"_{match[2]}")(match[1], body)
        if match := re.fullmatch(r"/([\w./-]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        if match := re.fullmatch(r"/api/models/([\w./-]+)", path):
            return self._info(match[1])
        return self._send({"error": f"the stub knows no {path}"}, 500)

    def _chunked(self) -> bytes:
        parts = []
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        return b"".join(parts)

    def _send(self, tree: object, status: int = 200, **headers: str) -> None:
        content = json.dumps(tree).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'clinic'}/{asked['name']}"
        private = asked.get("visibility", "public") == "private" or bool(asked.get("private"))
        if name.startswith("forbidden/"):
            return self._send({"error": "no rights in this namespace"}, 403)
        self.server.repositories[name] = {"private": private, "files": {}, "commits": []}
        return self._send({"url": f"{self.server.url}/{name}", "name": name})

    def _info(self, name: str) -> None:
        found = self.server.repositories.get(name)
        if found is None:
            return self._send({"error": "Not found"}, 404, X_Error_Code="RepoNotFound")
        siblings = [{"rfilename": path} for path in found["files"]]
        return self._send({"id": name, "private": found["private"], "siblings": siblings})

    def _preupload(self, name: str, body: bytes) -> None:
        large = (".safetensors", ".onnx", ".parquet", ".npz", ".png")
        found = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(large) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._send({"files": found})

    def _batch(self, asked: dict[str, Any]) -> None:
        def action(oid: str) -> dict[str, Any]:
            return {"upload": {"href": f"{self.server.url}/blob/{oid}", "header": {}}}

        objects = [o | {"actions": action(o["oid"])} for o in asked["objects"]]
        self._send({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, body: bytes) -> None:
        found = self.server.repositories[name]
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                found["files"][value["path"]] = base64.b64decode(value["content"])
            if entry["key"] == "lfsFile":
                found["files"][value["path"]] = self.server.blobs[value["oid"]]
            if entry["key"] == "deletedFile":
                del found["files"][value["path"]]
            if entry["key"] == "header":
                found["commits"].append(value["summary"])
        oid = "0" * 40
        url = f"{self.server.url}/{name}/commit/{oid}"
        self._send({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    # Xet sends to a store of its own; the older way is part of the same client.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    huggingface_hub.close_session()


def content(bundle: Path) -> dict[str, bytes]:
    names = [*contents.files(bundle), contents.SUMS]
    return {name: (bundle / name).read_bytes() for name in names}


def test_the_repository_holds_the_bundle_in_one_private_commit(
    hub: Hub, released: Released, tmp_path: Path
) -> None:
    assert kr.upload(released.bundle, "student") == f"{hub.url}/clinic/student"
    found = hub.repositories["clinic/student"]
    assert found["private"]
    assert found["files"] == content(released.bundle)
    assert len(found["commits"]) == 1
    back = tmp_path / "back"
    for name, data in found["files"].items():
        (back / name).parent.mkdir(parents=True, exist_ok=True)
        (back / name).write_bytes(data)
    assert kr.verify(back) == kr.verify(released.bundle)
    assert TOKEN.encode() not in b"".join(found["files"].values())


def test_a_later_bundle_replaces_the_earlier_one(
    hub: Hub, released: Released, tmp_path: Path
) -> None:
    kr.upload(released.bundle, "clinic/student", public=True)
    assert not hub.repositories["clinic/student"]["private"]
    hub.repositories["clinic/student"]["files"][".gitattributes"] = b"*.png lfs"
    later = tmp_path / "later"
    shutil.copytree(released.bundle, later)
    shutil.rmtree(later / "synthetic")
    facts = json.loads((later / "report.json").read_text())
    (later / "report.json").write_text(json.dumps(facts | {"synthetic": None}))
    contents.seal(later)
    kr.upload(later, "clinic/student", public=True)
    found = hub.repositories["clinic/student"]["files"]
    assert found.pop(".gitattributes") == b"*.png lfs"
    assert found == content(later)


def test_nothing_else_is_overwritten_and_visibility_is_as_asked(
    hub: Hub, released: Released
) -> None:
    other = {"private": True, "files": {"model.bin": b"theirs"}, "commits": []}
    hub.repositories["clinic/other"] = other
    with pytest.raises(kr.KRError, match="clinic/other: holds something else than a bundle"):
        kr.upload(released.bundle, "clinic/other")
    hub.repositories["clinic/open"] = {"private": False, "files": {}, "commits": []}
    with pytest.raises(kr.KRError, match="is public on the hub, and private was asked for"):
        kr.upload(released.bundle, "clinic/open")
    hub.repositories["clinic/shut"] = {"private": True, "files": {}, "commits": []}
    with pytest.raises(kr.KRError, match="is private on the hub, and public was asked for"):
        kr.upload(released.bundle, "clinic/shut", public=True)
    assert other["files"] == {"model.bin": b"theirs"}
    assert not hub.repositories["clinic/open"]["files"]


def test_a_changed_bundle_or_a_shut_gate_is_not_uploaded(
    hub: Hub, released: Released, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(released.bundle, copy)
    facts = json.loads((copy / "report.json").read_text())
    (copy / "report.json").write_text(json.dumps(facts | {"override": None}))
    with pytest.raises(kr.KRError, match=r"report\.json: has changed"):
        kr.upload(copy, "student")
    contents.seal(copy)
    with pytest.raises(kr.KRError, match=r"its gate is shut\. Not audited: .* not uploaded\."):
        kr.upload(copy, "student")
    assert not hub.repositories


@pytest.mark.parametrize("name", ["a/b/c", "two words", "a--b", "-a", "", "x" * 97, "a/b.git"])
def test_names_that_the_hub_does_not_allow(name: str, hub: Hub, released: Released) -> None:
    with pytest.raises(kr.KRError, match="is not a name that the hub allows; expected OWNER/NAME"):
        kr.upload(released.bundle, name)


def test_what_is_missing_is_said_in_a_sentence(
    hub: Hub, released: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(kr.KRError, match=r"status 403: this token may not write there"):
        kr.upload(released.bundle, "forbidden/student")
    hub.refuses = 418
    with pytest.raises(kr.KRError, match=r"the hub refused with status 418: The stub refuses\."):
        kr.upload(released.bundle, "student")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(kr.KRError, match="status 401: the hub does not know this token"):
        kr.upload(released.bundle, "student")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(kr.KRError, match="there is no token for the Hugging Face hub: run `hf"):
        kr.upload(released.bundle, "student")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(kr.KRError, match=r"needs huggingface_hub: pip install .*\[hf\]"):
        kr.upload(released.bundle, "student")


def test_without_a_network(hub: Hub, released: Released, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(kr.KRError, match=r"the hub cannot be reached.*ConnectError.*network"):
        kr.upload(released.bundle, "student")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(kr.KRError, match="HF_HUB_OFFLINE is set"):
        kr.upload(released.bundle, "student")


def test_the_command_line_uploads_what_it_releases(
    hub: Hub,
    released: Released,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    form = tmp_path / "release.yaml"
    form.write_text("licence: CC-BY-NC-4.0\nname: Lung\n")
    asked = ("release", released.run, "-o", tmp_path / "b", "--push-to-hub", "student")
    assert command(monkeypatch, *asked) == 4
    assert not hub.repositories, "nothing is created for a gate that is shut"
    assert command(monkeypatch, *asked, "--override", "a test", "--form", form) == 0
    assert ModelCard.load(tmp_path / "b" / "README.md").data.license == "cc-by-nc-4.0"
    assert f"Uploaded: {hub.url}/clinic/student\n" in capsys.readouterr().out
    assert hub.repositories["clinic/student"]["files"] == content(tmp_path / "b")
    assert command(monkeypatch, "release", tmp_path / "b", "--push-to-hub", "s2", "--public") == 0
    assert not hub.repositories["clinic/s2"]["private"]
    assert command(monkeypatch, "release", released.run, "-o", tmp_path / "c", "--public") == 2
    assert "give its NAME with --push-to-hub" in capsys.readouterr().err
    monkeypatch.delenv("HF_TOKEN")
    assert command(monkeypatch, "release", released.run, "-o", tmp_path / "c", *asked[4:]) == 2
    assert not (tmp_path / "c").exists(), "what is missing is said before the long part"


def test_the_hub_reads_the_card(released: Released) -> None:
    card = ModelCard.load(released.bundle / "README.md")
    assert card.data.license == "unknown"
    assert card.data.pipeline_tag == "image-classification"
    assert {r.metric_type for r in card.data.eval_results} == {"accuracy", "f1", "roc_auc"}
