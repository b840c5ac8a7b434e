"""`hearthwatch evaluate`: what people would be notified of, and how well the rules judge labelled stories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hearthwatch.demo.evaluate import (
    Scenario,
    apply_floors,
    compare_drawn,
    from_story,
    judge_by_model,
    judge_incident,
    judge_stories,
    picture_figures,
    read_scenarios,
    report,
)
from hearthwatch.demo.stories import Split
from hearthwatch.demo.stories import stories as drawn_stories
from hearthwatch.demo.weeks import simulate
from hearthwatch.schemas.errors import UserError


def evaluate(
    stories: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Labelled stories; repeatable. Unset: those of the drawn yard."),
    ] = None,
    incidents: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Incidents and what to notify of; repeatable.")
    ] = None,
    every: Annotated[
        str, typer.Option(metavar="S", help="One picture of a camera in so many seconds; `1,3,5`: a table over them.")
    ] = "0",
    weeks: Annotated[
        int, typer.Option(min=0, metavar="N", help="Simulate so many weeks of six households whose owners answer.")
    ] = 0,
    llm: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also ask the language model there: its own scores, and as stored."),
    ] = None,
    split: Annotated[Split, typer.Option(help="`test`, or `tune`: the stories that the rules were tuned on.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Measure what people would be notified of, by the rules or a language model, on a virtual clock."""
    files = [scenario for path in stories or [] for scenario in read_scenarios(path, "stories")]
    visits = [scenario for path in incidents or [] for scenario in read_scenarios(path, "incidents")]
    drawn = () if files or visits or weeks else drawn_stories(split)
    files += map(from_story, drawn)
    rates = _rates(every)
    played = {rate: _play(files, visits, weeks, rate, llm) for rate in rates}
    if drawn and len(rates) == 1:
        played[rates[0]][0]["rules"] |= compare_drawn(drawn)
    if as_json:
        objects = {f"{rate:g}": _as_json(*part) for rate, part in played.items()}
        print(json.dumps(*(objects.values() if len(objects) == 1 else [{"every": objects}]), indent=2))
    elif len(played) > 1:
        rows = [{"every": rate} | _summary(*part) for rate, part in played.items()]
        print(_table(rows[0], (row.values() for row in rows)))
    else:
        print("\n\n".join(_tables(*played.popitem()[1])))


Reports = dict[str, dict[str, Any]]
"""What is known about stories, by who judged them."""
Rows = dict[str, list[dict[str, Any]]]
"""Incidents and weeks, if there are any."""


def _rates(text: str) -> list[float]:
    try:
        if min(rates := [float(part) for part in text.split(",")]) >= 0:
            return rates
    except ValueError:
        pass
    raise UserError(f"--every {text}: seconds, or several separated by commas, such as 1,3,5")


def _play(
    stories: Sequence[Scenario], incidents: Sequence[Scenario], weeks: int, every: float, llm: str | None
) -> tuple[Reports, Rows]:
    reports: Reports = {}
    if stories:
        rules = judge_stories(stories, every, asks=bool(llm))
        reports["rules"] = report(rules)
        if llm:
            alone = judge_by_model(rules, llm)
            reports["language model alone"] = report(alone, "nemotron")
            stored = apply_floors(alone)
            reports["as stored, with the rules' floor"] = report(stored, "nemotron")
            if (figures := picture_figures(stored))["events"]:
                reports["as stored, with the rules' floor"]["pictures"] = figures
    rows = {"incidents": [judge_incident(scenario, every) for scenario in incidents], "weeks": simulate(weeks, every)}
    return reports, {name: some for name, some in rows.items() if some}


def _as_json(reports: Reports, rows: Rows) -> dict[str, Any]:
    others = {judge: r for judge, r in reports.items() if judge != "rules"}
    return {**reports.get("rules", {}), **rows, **({"llm": others} if others else {})}


def _summary(reports: Reports, rows: Rows) -> dict[str, Any]:
    """Return a row of the table over several rates."""
    figures = _lines(reports["rules"]) if reports else {}
    left_out = "stories", "boxes_can_tell.stories", "evidence", "unanswered"
    if incidents := rows.get("incidents"):
        figures["incidents ok"] = f"{sum(row['ok'] for row in incidents)} of {len(incidents)}"
    last = {f"last week's {key}": value for week in rows.get("weeks", [])[-1:] for key, value in week.items()}
    return {key: value for key, value in (figures | last).items() if key not in left_out}


def _tables(reports: Reports, rows: Rows) -> Iterator[str]:
    if reports:
        columns = [*map(_lines, reports.values())]
        yield _table(("", *reports), ((path, *(column.get(path) for column in columns)) for path in columns[0]))
    for judge, r in reports.items():
        yield from (_matrix(f"{key} by {judge}", r[key]) for key in ("levels", "needs") if r[key])
        if pictures := r.get("pictures"):
            figures = _lines({key: value for key, value in pictures.items() if key != "acts"})
            yield _table(("pictures", ""), figures.items())
            yield from [_matrix("acts seen by", pictures["acts"])] if pictures["acts"] else []
    yield from (_table(some[0], (row.values() for row in some)) for some in rows.values())


def _lines(report: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the figures of a report by their paths in its JSON, without the matrices."""
    out: dict[str, Any] = {}
    for key, value in report.items():
        if key not in ("levels", "needs", "pictures"):
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
