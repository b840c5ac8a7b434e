"""`hearthwatch components`: every source, stage and sink that a flow file can name, with its options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from hearthwatch.flows.node import name_of, types
from hearthwatch.flows.registry import BUILT_IN, Entry, RegistryError, entries, load, names
from hearthwatch.schemas import Component
from hearthwatch.schemas.settings import variables


def components(
    name: Annotated[str | None, typer.Argument(help="Show this one only; or `package.module:Class`.")] = None,
) -> None:
    """List every source, stage and sink with its options. Exit code 1 if a plug-in cannot be loaded."""
    if name:
        entry = names().get(name) or Entry("", name, name, name.partition(".")[0].partition(":")[0])
        print("\n".join(describe(entry, load(name))))
        return
    broken = False
    for kind in BUILT_IN:
        print(kind)
        for entry in entries():
            if entry.kind == kind:
                try:
                    component = load(entry.target)
                except RegistryError as error:
                    print(f"  {entry.name}  from {entry.package} cannot be used: {error}")
                    broken = True
                else:
                    print("\n".join(f"  {line}" for line in describe(entry, component)))
    if broken:
        raise typer.Exit(1)


def describe(entry: Entry, component: type[Component]) -> Iterator[str]:
    """Write a component in lines: what it is, which items it accepts and emits, its options."""
    accepts = " or ".join(name_of(kind) for kind in types(component.accepts)) if component.accepts else ""
    emits = name_of(component.emits) if component.emits else ""
    flows = " → ".join(filter(None, (accepts, emits)))
    origin = "" if entry.package == "hearthwatch" else f"  from {entry.package}"
    yield f"{entry.name}{f'  ({flows})' if flows else ''}{origin}"
    yield f"    {(inspect.getdoc(component) or 'not documented').partition(chr(10) * 2)[0]}"
    for name, field in component.model_fields.items():
        yield f"    {name}: {_type(field)}{_default(field)}"
        yield f"        {' '.join((field.description or 'not documented').split())}"


def _type(field: FieldInfo) -> str:
    bounds = "".join(
        f", {sign} {getattr(item, key)}"
        for item in field.metadata
        for key, sign in BOUNDS.items()
        if hasattr(item, key)
    )
    return _type_name(field.annotation) + bounds


BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def _type_name(kind: Any) -> str:
    """Write a type as people do: `list of str`, `float or nothing`."""
    if kind is NoneType:
        return "nothing"
    if hasattr(kind, "__metadata__"):
        return _type_name(get_args(kind)[0])
    if get_origin(kind) in (tuple, list):
        return f"list of {_type_name(get_args(kind)[0])}"
    if get_args(kind):
        return " or ".join(_type_name(item) for item in get_args(kind))
    return kind.__name__ if isinstance(kind, type) else repr(kind)


def _default(field: FieldInfo) -> str:
    if isinstance(field.json_schema_extra, dict) and "setting" in field.json_schema_extra:
        setting = str(field.json_schema_extra["setting"])
        return f" = ${{{setting}}}" if setting in [item.name for item in variables()] else ""
    if field.is_required():
        return ", required"
    return "" if field.default_factory else f" = {field.default!r}"
