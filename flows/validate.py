"""Everything that can be wrong with a graph, in words and all at once. Pure: nodes in, sentences out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from hearthwatch.flows.guard import name_of, types
from hearthwatch.flows.node import ERRORS, FEED, Node
from hearthwatch.flows.only import mistakes as only_mistakes
from hearthwatch.schemas import (
    Component,
    Consumer,
    DeadLetter,
    Detected,
    Event,
    Frame,
    Message,
    Sink,
    Source,
    Stage,
    Upload,
)
from hearthwatch.schemas.text import did_you_mean
from hearthwatch.sinks.notifier import Notifier

Nodes = Mapping[str, Node]

METHODS: dict[type[Component], tuple[str, ...]] = {
    Source: ("build",),
    Stage: ("process", "attach"),
    Sink: ("build",),
    Notifier: ("notify", "deliver"),
    Consumer: ("deliver",),
}
"""What each kind of component has to bring, one of these at least; the narrower kind comes first."""

NAME = re.compile(r"(?!.*_errors$)[A-Za-z_][A-Za-z0-9_-]*")  # a step id: no dots; `x_errors` is the tap of `x`


def mistakes(nodes: Nodes) -> list[str]:
    """What keeps these nodes from being a dataflow; empty if nothing does."""
    if not nodes:
        return ["the graph has no nodes"]
    found = [line for node in nodes.values() for line in (*_alone(node), *_edges(node, nodes))]
    return [*found, *_cycles(nodes), *_frames(nodes), *_unused(nodes)]


def _alone(node: Node) -> Iterator[str]:
    """What is wrong with a node whatever its neighbours are."""
    if not NAME.fullmatch(node.name):
        yield f"{node}: `{node.name}` cannot be a name: letters, digits, `_` and `-` only, and no `_errors` at its end"
    if node.name == FEED:
        yield f"{node}: the name `{FEED}` is taken: every graph has a node `{FEED}`, use another name"
    component = node.component
    if component is None:
        return
    if not isinstance(component, Source | Stage | Sink | Consumer):
        yield f"{node}: {type(component).__name__} is a bare Component: derive it from Source, Stage, Sink or Consumer"
        return
    base = next(base for base in METHODS if isinstance(component, base))
    if all(getattr(type(component), method) is getattr(base, method) for method in METHODS[base]):
        yield f"{node}: the class {type(component).__name__} lacks {' or '.join(f'`{method}`' for method in METHODS[base])}"
    if base is not Source and not component.accepts:
        yield f"{node}: the class {type(component).__name__} does not say what it `accepts`"
    if base is Stage and component.emits is None:
        yield f"{node}: the class {type(component).__name__} does not say what it `emits`"
    if base is not Source and not node.after:
        yield f"{node}: `from` is missing: it accepts {_kinds(component)}; which node does it read?"


def _kinds(component: Component) -> str:
    return " or ".join(name_of(kind) for kind in types(component.accepts))


def _edges(node: Node, nodes: Nodes) -> Iterator[str]:
    for edge in node.after:
        name, _, port = edge.partition(".")
        if name not in nodes and name != FEED:
            yield f"{node}: `from` names `{name}`, which is no node{did_you_mean(name, [*nodes, FEED])}".rstrip(".")
        elif port and (port != ERRORS or name == FEED or not isinstance(nodes[name].component, Stage | None)):
            yield f"{node}: `{name}` has no port `{port}`; a stage's is `{ERRORS}`"
        elif node.component and (name == FEED or nodes[name].component):
            yield from _types(node, node.component, edge, _flowing(edge, nodes))
    if node.only is not None:
        yield from _only(node, nodes)


def _flowing(edge: str, nodes: Nodes) -> type | None:
    """What flows along an edge; None if nothing does, or nobody knows because the node could not be made."""
    name, _, port = edge.partition(".")
    if name == FEED:
        return Message
    component = nodes[name].component if name in nodes else None
    if component is None:
        return None
    return DeadLetter if port and component.emits not in (Frame, Detected) else Detected if port else component.emits


def _types(node: Node, component: Component, edge: str, emitted: type | None) -> Iterator[str]:
    if emitted is None:
        yield f"{node}: nothing flows out of `{edge}`: read the node before it"
    elif isinstance(component, Consumer) and edge != FEED:
        yield f'{node}: a consumer reads the feed: write `from = "{FEED}"`, not `{edge}`'
    elif not component.accepts:
        yield f"{node}: {type(component).__name__} reads nothing: remove `from`"
    elif not issubclass(emitted, types(component.accepts)):
        yield f"{node}: `{node.name}` accepts {_kinds(component)}, but `{edge}` emits {name_of(emitted)}"
    elif edge == FEED and not isinstance(component, Consumer):
        yield f"{node}: only a Consumer can read the feed, and {type(component).__name__} is none"


def _only(node: Node, nodes: Nodes) -> Iterator[str]:
    for edge in node.after:
        if _flowing(edge, nodes) not in (Event, Message, None):
            yield f"{node}: `only` chooses among events and messages; between `files` and `batch` no item may vanish"
            return
    if isinstance(node.component, Consumer) and node.component.whole:
        yield f"{node}: `only` cannot narrow it, it mirrors the whole feed: choose where you read"
    yield from (f"{node}: {line}" for line in only_mistakes(node.only))


def _cycles(nodes: Nodes) -> Iterator[str]:
    edges = {node.name: [name for name in node.sources() if name in nodes] for node in nodes.values()}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        yield f"the graph goes round in a circle: {' → '.join(f'`{name}`' for name in error.args[1])}"


def _frames(nodes: Nodes) -> Iterator[str]:
    """Frames come from one source, go down one line, and end in one batch."""
    starts = [node for node in nodes.values() if isinstance(node.component, Source) and node.component.emits is Frame]
    ends = [node for node in nodes.values() if _decides(node)]
    for several, role in ((starts, "hands out frames"), (ends, "makes events of them")):
        if len(several) > 1:
            yield f"only one node {role}, but there are {len(several)}: {', '.join(f'`{n.name}`' for n in several)}"
    known = all(node.component for node in nodes.values())
    for start in starts if known else ():
        if not any(start.name in _upstream(end, nodes) for end in ends):
            yield f"{start}: its frames reach no `batch`: nothing would ever be settled"
    for end in ends:
        for node in (end, *(nodes[name] for name in sorted(_upstream(end, nodes)))):
            if len(node.after) > 1 and not isinstance(node.component, Source):
                yield f"{node}: reads {len(node.after)} nodes, but merging streams does not keep order: between `files` and `batch` there is one line"


def _decides(node: Node) -> bool:
    component = node.component
    return isinstance(component, Stage) and component.emits is Event and Detected in types(component.accepts)


def _upstream(node: Node, nodes: Nodes) -> set[str]:
    """The names of all nodes whose items reach this one."""
    found: set[str] = set()
    ahead = list(node.sources())
    while ahead:
        name = ahead.pop()
        if name in nodes and name not in found:
            found.add(name)
            ahead += nodes[name].sources()
    return found


def _unused(nodes: Nodes) -> Iterator[str]:
    """A source whose items go nowhere."""
    taken = {name for node in nodes.values() for name in node.sources()}
    files = next(
        (n.name for n in nodes.values() if isinstance(n.component, Source) and n.component.emits is Frame), "files"
    )
    for node in nodes.values():
        emits = node.component.emits if isinstance(node.component, Source) else None
        if emits not in (None, Frame) and node.name not in taken:
            where = f"`{files}`" if emits is Upload else "a node"
            yield f'{node}: nothing takes what it emits ({name_of(emits)}): add `from = "{node.name}"` to {where}'
