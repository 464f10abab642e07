"""What an applicant fills in, complete for any charter, and the files of the charters that are shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.catalogue import Fact, Metric
from schemas.charter import Charter
from schemas.exact import Quantity

PROGRAMS = Path(__file__).resolve().parents[1] / "deploy" / "programs"
SHIPPED = (PROGRAMS / "citizen-engaged-communities.toml").read_text(encoding="utf-8")
SMALL = (PROGRAMS / "servicio-claro.toml").read_text(encoding="utf-8")


def complete_draft(charter: Charter, kind: str) -> dict[str, Any]:
    """A draft's document without gaps."""
    answers = {
        name: {"statement": f"What we do about {name}.", "evidence": [{"url": f"https://www.gov.example/{name}"}]}
        for name in charter.criteria(kind)
    }
    metrics = [
        {"id": metric.id, "value": figure_of(metric), "unit": metric.unit, "period": "2010", "published": True}
        for metric in charter.metrics
        if metric.service_delivery
    ]
    contact = {
        "official": "The Manager",
        "title": "Manager",
        "email": "manager@gov.example",
        "channels": {"311": "311"},
    }
    facts = {fact.id: value_of(fact) for fact in charter.facts}
    return {"answers": answers, "facts": facts, "assumed": ["website"], "metrics": metrics, "contact": contact}


def figure_of(metric: Metric) -> str:
    """A figure that is usual for a metric."""
    return metric.plausible[1] if metric.plausible and metric.doubt(Quantity.parse("93.5")) else "93.5"


def value_of(fact: Fact) -> bool | int | str | list[str]:
    """Some value that fits a fact."""
    match fact.kind:
        case "yes_no":
            return True
        case "count":
            return fact.min or 0
        case "choice":
            return fact.choices[0]
        case "choices":
            return list(fact.choices[:1])
