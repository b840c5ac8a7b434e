"""`hearthwatch evaluate`: how well the rules, or a language model, separate alarming stories from the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from hearthwatch.demo.evaluate import (
    STORIES_PER_CAMERA_DAY,
    Report,
    apply_floors,
    judge_by_model,
    judge_by_rules,
    report,
)
from hearthwatch.demo.stories import Split, stories


def evaluate(
    llm: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also ask the language model there: its own scores, and as stored."),
    ] = None,
    split: Annotated[Split, typer.Option(help="`test`, or `tune`: the stories that the rules were tuned on.")] = "test",
    every: Annotated[int, typer.Option(min=1, max=30, help="One picture in so many seconds; cameras differ.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Score the rules, or a language model, on the labelled stories of the drawn yard."""
    rules = judge_by_rules(stories(split), every)
    reports = {"rules": report(rules)}
    if llm:
        alone = judge_by_model(rules, llm)
        reports["language model alone"] = report(alone, "nemotron")
        reports["as stored, with the rules' floor"] = report(apply_floors(alone, rules), "nemotron")
    if as_json:
        print(json.dumps({judge: result.as_dict() for judge, result in reports.items()}, indent=2))
    else:
        print("\n\n".join([table(reports), *(calibration(judge, result) for judge, result in reports.items())]))


def table(reports: Mapping[str, Report]) -> str:
    """Write the numbers as Markdown, a column for each judge."""
    columns = [list(map(str, cells)) for cells in zip(*map(_cells, reports.values()), strict=True)]
    names = (
        "stories",
        "AUROC, alarming against the rest",
        "the same, only stories with people",
        "alarming stories scored high or critical",
        f"false highs per camera and day of {STORIES_PER_CAMERA_DAY} stories",
        "verdicts whose evidence exists",
        "events without an answer: the rules' verdict counts",
    )
    rows = [(name, *cells) for name, cells in zip(names, columns, strict=True)]
    return _markdown(("", *reports), rows if len(reports) > 1 else rows[:-1])


def calibration(judge: str, r: Report) -> str:
    """Write how many stories of each label got which score, as Markdown."""
    rows = [
        (f"{b.low}–{b.high}", *map(str, b.labels.values()), "" if b.alarming is None else f"{b.alarming:.0%}")
        for b in r.buckets
    ]
    return _markdown((f"score by {judge}", *r.stories, "share alarming"), rows)


def _cells(r: Report) -> tuple[str, ...]:
    return (
        f"{sum(r.stories.values())}: {', '.join(f'{n} {label}' for label, n in r.stories.items())}",
        f"{r.auroc:.3f} ± {r.auroc_error:.3f}",
        f"{r.auroc_people:.3f}",
        f"{r.recall:.0%}",
        f"{r.false_highs:.1f}",
        f"{r.evidence:.0%}",
        str(r.unanswered),
    )


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
