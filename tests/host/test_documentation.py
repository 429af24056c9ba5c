"""Every node explains itself: tooltips, a help page, and translations that match the schemas."""

import json
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from hostlink.discovery import PACK
from hostlink.schemas import node_defs
from hostlink.server import HostServer
from hostlink.worker import HostWorker
from hostlink.workspace import PACK_FOLDER

LANGUAGES = sorted(path.parent.name for path in (PACK / "locales").glob("*/nodeDefs.json"))


@pytest.fixture(scope="module")
def described(in_host: HostWorker) -> dict[str, Any]:
    return in_host("schemas.py", "described")


def test_every_node_is_described(described: dict[str, Any]) -> None:
    assert described
    for node_id, node in described.items():
        assert node["category"] == "Cones2", node_id
        assert node["display_name"] and node["description"] and node["aliases"], node_id


def test_every_input_and_output_has_a_tooltip(described: dict[str, Any]) -> None:
    silent = [
        f"{node_id}.{name}"
        for node_id, node in described.items()
        for name, tooltip in [*node["inputs"].items(), *node["grown"].items(), *node["outputs"]]
        if not (tooltip or "").strip().endswith((".", '"', ")"))
    ]
    assert silent == []


def test_every_node_has_a_help_page_that_names_its_inputs_and_outputs(described: dict[str, Any]) -> None:
    for node_id, node in described.items():
        page = (PACK / "web" / "docs" / f"{node_id}.md").read_text(encoding="utf-8")
        names = [*node["inputs"], *(name for name, _ in node["outputs"])]
        assert [name for name in names if f"`{name}`" not in page] == [], node_id
        assert page.startswith(f"# {node['display_name']}\n"), node_id


def test_no_help_page_is_left_over(described: dict[str, Any]) -> None:
    assert {path.stem for path in (PACK / "web" / "docs").glob("*.md")} == set(described)


def test_the_server_gives_the_help_page_to_the_frontend(host_server: HostServer, described: dict[str, Any]) -> None:
    for node_id in described:
        address = f"{host_server.url}/extensions/{quote(PACK_FOLDER)}/docs/{node_id}.md"
        with urlopen(address, timeout=10) as answer:
            assert answer.read().startswith(b"# ")


def test_english_locale_is_what_the_schemas_say(described: dict[str, Any]) -> None:
    """Written by tools/locales.py."""
    found = json.loads((PACK / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert found == node_defs(described)


def shape(tree: Any) -> Any:
    """The keys of nested dicts."""
    return {key: shape(value) for key, value in tree.items()} if isinstance(tree, dict) else None


@pytest.mark.parametrize("language", LANGUAGES)
def test_locale_keys_match_the_schemas(described: dict[str, Any], language: str) -> None:
    found = json.loads((PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert shape(found) == shape(node_defs(described))


def test_another_language_is_translated() -> None:
    texts = {name: (PACK / "locales" / name / "nodeDefs.json").read_text(encoding="utf-8") for name in LANGUAGES}
    assert len(texts) >= 2
    for language in set(LANGUAGES) - {"en"}:
        english, other = (json.loads(texts[name]) for name in ("en", language))
        same = [n for n in english if english[n]["description"] == other[n]["description"]]
        assert same == []


def test_the_server_sends_the_translations(host_server: HostServer) -> None:
    sent = host_server.get("/i18n")
    assert {language for language in sent if "Cones2TextEncode" in sent[language].get("nodeDefs", {})} == set(LANGUAGES)
