"""Every node has a help page, and translations that match its schema."""

import json
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.host.client.discovery import PACK
from tests.host.client.server import HostServer
from tests.host.client.worker import HostWorker
from tests.host.client.workspace import PACK_FOLDER

HELP = PACK / "web" / "docs"
LANGUAGES = sorted(path.parent.name for path in (PACK / "locales").glob("*/nodeDefs.json"))


def translation(language: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    return found


def shape(tree: Any) -> Any:
    """The keys of nested dicts."""
    return {key: shape(value) for key, value in tree.items()} if isinstance(tree, dict) else None


@pytest.fixture(scope="module")
def node_defs(in_host: HostWorker) -> dict[str, Any]:
    found: dict[str, Any] = in_host.documentation.node_defs()
    assert found
    return found


def test_every_node_has_a_help_page_that_names_its_inputs_and_outputs(node_defs: dict[str, Any]) -> None:
    for node_id, node in node_defs.items():
        page = (HELP / f"{node_id}.md").read_text(encoding="utf-8")
        names = [*node["inputs"], *(output["name"] for output in node["outputs"].values())]
        assert [name for name in names if f"`{name}`" not in page] == [], node_id
        labels = {key: each["name"] for key, each in node["inputs"].items() if each["name"] != key}
        assert [key for key, label in labels.items() if f"`{key}` ({label})" not in page] == [], node_id
        assert page.startswith(f"# {node['display_name']}\n"), node_id


def test_no_help_page_is_left_over(node_defs: dict[str, Any]) -> None:
    assert {path.stem for path in HELP.glob("*.md")} == set(node_defs)


def test_the_server_gives_help_pages_to_the_frontend(host_server: HostServer) -> None:
    for page in HELP.rglob("*.md"):
        address = f"{host_server.url}/extensions/{quote(PACK_FOLDER)}/docs/{page.relative_to(HELP).as_posix()}"
        with urlopen(address, timeout=10) as answer:
            assert answer.read() == page.read_bytes()


def test_translated_help_pages_name_the_same_inputs_and_outputs(node_defs: dict[str, Any]) -> None:
    pages = sorted(HELP.glob("*/*.md"))
    assert pages and {(page.parent.name, page.stem) for page in pages} <= {(node_id, "zh") for node_id in node_defs}
    for page in pages:
        node, text = node_defs[page.parent.name], page.read_text(encoding="utf-8")
        names = [*node["inputs"], *(output["name"] for output in node["outputs"].values())]
        assert [name for name in names if f"`{name}`" not in text] == [], page
        assert text.startswith(f"# {translation(page.stem)[page.parent.name]['display_name']}\n"), page


def test_english_is_what_the_schemas_say(node_defs: dict[str, Any]) -> None:
    """`python tools/locales.py` writes it."""
    assert translation("en") == node_defs


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_have_the_keys_of_the_schemas(node_defs: dict[str, Any], language: str) -> None:
    assert shape(translation(language)) == shape(node_defs)


def test_other_languages_are_translated() -> None:
    assert len(LANGUAGES) >= 2
    english = translation("en")
    for language in set(LANGUAGES) - {"en"}:
        other = translation(language)
        assert [n for n in english if english[n]["description"] == other[n]["description"]] == [], language


def test_the_server_sends_the_translations(host_server: HostServer) -> None:
    sent = host_server.get("/i18n")
    assert {language for language in sent if "Cones2TextEncode" in sent[language].get("nodeDefs", {})} == set(LANGUAGES)
