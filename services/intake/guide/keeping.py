"""A self-assessment that becomes a draft: what has a place there, and points as remarks beside the answers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from schemas.charter import Charter
from services.chassis.refusal import RefusedError, Violation, pointer
from services.intake.applications.sections import Document
from services.intake.guide.domain import Answers, must_fit


def drafted(charter: Charter, answers: Answers, statements: Mapping[str, str]) -> Document:
    """The draft's document; RefusedError (422) naming everything that does not fit the charter.

    What was called not applicable has its statement as the reason; a metric that is published is named, its figure and
    period are open.
    """
    must_fit(charter, answers)
    criteria = charter.criteria(answers.kind)
    if strangers := statements.keys() - criteria.keys():
        raise RefusedError.all(
            [
                Violation(
                    "unknown-criterion",
                    f"{name!r} is no criterion for a {answers.kind}.",
                    pointer(("statements", name)),
                )
                for name in sorted(strangers)
            ]
        )
    excused = set(answers.not_applicable)
    said: Document = {name: {"statement": text} for name, text in statements.items() if name not in excused}
    said |= {name: {"not_applicable": statements.get(name, "")} for name in answers.not_applicable}
    units = {metric.id: metric.unit for metric in charter.metrics}
    metrics = [
        {"id": name, "unit": units[name], "published": True} for name in dict.fromkeys(answers.published_metrics)
    ]
    return {root: value for root, value in (("answers", said), ("metrics", metrics)) if value}


def remarks(charter: Charter, answers: Answers) -> Iterator[tuple[str, str]]:
    """The points as what is said beside each answer: (pointer, text). In a draft itself, points have no place."""
    criteria = charter.criteria(answers.kind)
    anchors = {anchor.score: anchor.text for anchor in charter.scale.anchors}
    for name, points in answers.points.items():
        means = criteria[name].looks_like.get(points, anchors.get(points, ""))
        yield pointer(("answers", name)), f"{points}/{charter.scale.max} {means}".strip()
