"""What the server answers a page about residual files, and what it stores."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from tests.host.client.discovery import PACK
from tests.host.client.server import HostServer

DEMO = PACK / "cones2" / "assets" / "toyworld" / "residuals"
DOG = (DEMO / "dog_with_badge.safetensors").read_bytes()
MUG = (DEMO / "purple_yellow_mug.safetensors").read_bytes()


def ask(server: HostServer, body: bytes | None = None, **question: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer."""
    headers = {"Content-Type": "application/octet-stream"}
    try:
        with urlopen(
            Request(f"{server.url}/cones2/residual?{urlencode(question)}", body, headers), timeout=30
        ) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def folder(host_server: HostServer) -> Iterator[Path]:
    """The folder of residuals, as it was afterwards."""
    path = host_server.base / "models" / "residuals"
    before = set(path.iterdir())
    yield path
    for added in set(path.iterdir()) - before:
        added.unlink()


def test_a_file_is_told_with_its_phrase_family_and_pictures(host_server: HostServer) -> None:
    status, facts = ask(host_server, file="demo/dog_with_badge.safetensors")
    assert (status, facts["subject"], facts["family"], facts["width"]) == (200, "dog", "the demo model", 128)
    assert len(facts["pictures"]) == 3
    assert all(picture.startswith("data:image/png;base64,iVBORw0KGgo") for picture in facts["pictures"])


@pytest.mark.parametrize("name", ["", "gone.pt", "../../custom_nodes", "/etc/passwd", "a\0b", "x" * 4000, "demo"])
def test_nothing_but_residuals_is_read(host_server: HostServer, name: str) -> None:
    status, answer = ask(host_server, file=name)
    assert status == 404 and list(answer) == ["error"] and answer["error"].startswith("there is no residual")


def test_a_file_that_is_no_residual_is_told_as_a_sentence(host_server: HostServer, folder: Path) -> None:
    (folder / "notes.pt").write_text("hello")
    status, answer = ask(host_server, file="notes.pt")
    assert status == 400 and "neither a whole safetensors file" in answer["error"]


def test_an_upload_is_stored_once_and_replaces_nothing(host_server: HostServer, folder: Path) -> None:
    assert ask(host_server, DOG, name="rex.safetensors") == (200, {"file": "rex.safetensors"})
    assert ask(host_server, DOG, name="rex.safetensors") == (200, {"file": "rex.safetensors"})
    assert ask(host_server, MUG, name="rex.safetensors") == (200, {"file": "rex_2.safetensors"})
    assert ask(host_server, MUG, name="rex.safetensors") == (200, {"file": "rex_2.safetensors"})
    assert (folder / "rex.safetensors").read_bytes() == DOG


@pytest.mark.parametrize("name", ["../up.safetensors", "/up.safetensors", "..\\up.safetensors", "a/b/up.safetensors"])
def test_an_upload_lands_in_the_folder_itself(host_server: HostServer, folder: Path, name: str) -> None:
    assert ask(host_server, DOG, name=name) == (200, {"file": "up.safetensors"})
    assert (folder / "up.safetensors").is_file()


@pytest.mark.parametrize(
    "name", ["", "..", ".safetensors", "x.bin", "x.py", "con.pt", "a\0.pt", "x" * 300 + ".pt", "put.txt"]
)
def test_an_upload_under_another_name_is_refused(host_server: HostServer, folder: Path, name: str) -> None:
    before = sorted(os.listdir(folder))
    status, answer = ask(host_server, DOG, name=name)
    assert status == 400 and answer["error"] and len(answer["error"]) < 600
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("content", [b"", b"{}", DOG[:-1], bytes(5_000_000)], ids=["empty", "text", "cut", "large"])
def test_an_upload_of_something_else_is_refused(host_server: HostServer, folder: Path, content: bytes) -> None:
    before = sorted(os.listdir(folder))
    status, answer = ask(host_server, content, name="x.safetensors")
    assert status == 400 and answer["error"] and len(answer["error"]) < 600
    assert sorted(os.listdir(folder)) == before
