"""`hearthwatch evaluate`: what people would be notified of, and how well the rules judge labelled stories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hearthwatch.demo.evaluate import (
    apply_floors,
    from_story,
    judge_by_model,
    judge_incident,
    judge_stories,
    read_scenarios,
    report,
)
from hearthwatch.demo.stories import Split
from hearthwatch.demo.stories import stories as drawn_stories
from hearthwatch.schemas.errors import UserError


def evaluate(
    stories: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Labelled stories; repeatable. Unset: those of the drawn yard."),
    ] = None,
    incidents: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Incidents and what to notify of; repeatable.")
    ] = None,
    every: Annotated[float, typer.Option(min=0, metavar="S", help="One picture of a camera in so many seconds.")] = 0,
    weeks: Annotated[int | None, typer.Option(hidden=True)] = None,
    llm: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also ask the language model there: its own scores, and as stored."),
    ] = None,
    split: Annotated[Split, typer.Option(help="`test`, or `tune`: the stories that the rules were tuned on.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Measure what people would be notified of, by the rules or a language model, on a virtual clock."""
    if weeks is not None:
        raise UserError("--weeks is not in this version: use --stories, --incidents, or neither for the drawn yard")
    reports: dict[str, dict[str, Any]] = {}
    if stories or not incidents:
        files = [scenario for path in stories or [] for scenario in read_scenarios(path, "stories")]
        rules = judge_stories(files or [from_story(story) for story in drawn_stories(split)], every)
        reports["rules"] = report(rules)
        if llm:
            alone = judge_by_model(rules, llm)
            reports["language model alone"] = report(alone, "nemotron")
            reports["as stored, with the rules' floor"] = report(apply_floors(alone, rules), "nemotron")
    rows = [
        judge_incident(scenario, every) for path in incidents or [] for scenario in read_scenarios(path, "incidents")
    ]
    if as_json:
        whole = (
            reports.pop("rules", {}) | ({"incidents": rows} if incidents else {}) | ({"llm": reports} if llm else {})
        )
        print(json.dumps(whole, indent=2))
    else:
        columns = [*map(_lines, reports.values())]
        lines = [(path, *(column[path] for column in columns)) for path in (columns or [{}])[0]]
        parts = [_table(("", *reports), lines)] if reports else []
        for judge, r in reports.items():
            parts += [_matrix(f"{key} by {judge}", r[key]) for key in ("levels", "needs") if r[key]]
        print("\n\n".join([*parts, *([_table(rows[0], (row.values() for row in rows))] if rows else [])]))


def _lines(report: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the figures of a report by their paths in its JSON, without the matrices."""
    out: dict[str, Any] = {}
    for key, value in report.items():
        if key not in ("levels", "needs"):
            out |= _lines(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return out


def _matrix(name: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    head = next(iter(rows.values()))
    return _table((name, *head), ((row, *values.values()) for row, values in rows.items()))


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Write a Markdown table."""
    lines = [[*head], *([*map(_cell, row)] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
