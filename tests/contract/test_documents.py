"""The generated documents say what the code does, and are what others can read."""

from __future__ import annotations

import json

from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema

from deploy.reference import REFERENCE, documents
from schemas.topics import EVENTS, TOPICS


def test_the_committed_documents_are_the_generated_ones() -> None:
    for name, text in documents().items():
        assert (REFERENCE / name).read_text(encoding="utf-8") == text, f"{name}: run `make generate`"


def test_the_asyncapi_document_is_one_by_another_librarys_models_and_names_every_event() -> None:
    document = json.loads((REFERENCE / "asyncapi.json").read_text(encoding="utf-8"))
    assert ApplicationSchema.model_validate(document).asyncapi == "3.0.0"
    names = {message["name"] for message in document["components"]["messages"].values()}
    assert set(EVENTS) <= names
    assert set(document["channels"]) == {topic.name for topic in TOPICS if topic.name != "program.clock.v1"}


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = json.loads((REFERENCE / "asyncapi.json").read_text(encoding="utf-8"))

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for item in value.values() for found in references(item)]
        return [found for item in value for found in references(item)] if isinstance(value, list) else []

    found = references(document)
    assert found
    for reference in found:
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_every_event_stands_in_the_catalogue() -> None:
    text = (REFERENCE / "events.md").read_text(encoding="utf-8")
    for name in EVENTS:
        assert f"### `{name}`" in text
