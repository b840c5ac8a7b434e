"""Check a graph: every mistake in words, all at once. Pure: nodes in, sentences out.

Options that are wrong hide no mistake in edges: what a node accepts and emits is known from its class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from hearthwatch.flows.node import ERRORS, Node, name_of, types
from hearthwatch.flows.only import as_tuple
from hearthwatch.flows.only import mistakes as only_mistakes
from hearthwatch.schemas import (
    Component,
    Consumer,
    DeadLetter,
    Detected,
    Event,
    Frame,
    IncidentMessage,
    ItemMessage,
    Job,
    Message,
    Poller,
    Sink,
    Source,
    Stage,
    SystemMessage,
    Upload,
)
from hearthwatch.schemas.text import did_you_mean
from hearthwatch.sinks.journal import Journal
from hearthwatch.sinks.notifier import Notifier
from hearthwatch.stages.incident import IncidentGrouping

Nodes = Mapping[str, Node]

METHODS: dict[type[Component], tuple[str, ...]] = {
    Poller: ("poll", "build"),
    Source: ("build",),
    Stage: ("process", "attach", "build"),
    Sink: ("build",),
    Notifier: ("notify", "deliver", "build"),
    Consumer: ("deliver", "build"),
    Job: ("build",),
}
"""What each kind of component has to implement, one of these at least; the narrower kind comes first."""

NAME = re.compile(r"(?!.*_errors$)[A-Za-z_][A-Za-z0-9_-]*")  # a step id: no dots; `x_errors` is the tap of `x`
RESERVED_NAMES = ("feed", "none")


MESSAGES = (Message, IncidentMessage, SystemMessage, ItemMessage)
FILES = "hearthwatch.sources.files"
INCIDENT = "incident"


def find_warnings(nodes: Nodes) -> list[str]:
    """Return what may be meant, but loses items if it is not."""
    taken = {name for node in nodes.values() for name in node.upstream()}
    found = []
    for node in nodes.values():
        if (
            node.is_kind(Stage)
            and node.name not in taken
            and not (node.kind or Component).durable
            and not _emits(node, Upload)
        ):
            found.append(f"{node}: no node reads what it emits ({name_of(node.emits())})")
        chosen = as_tuple((node.only or {}).get("type", "incident"))
        if getattr(node.component, "messages", "") == "incident" and not any("incident" in type for type in chosen):
            found.append(
                f'{node.at("only")}: `only` lets no incident through: remove `type`, or set `messages = "event"`'
            )
        if node.is_kind(Source) and _emits(node, Frame) and (node.kind or Component).__module__ != FILES:
            found.append(
                f"{node}: frames that it makes without a row in the ledger are never settled: emit Upload instead"
            )
    return found


def find_mistakes(nodes: Nodes, run_here: tuple[str, ...] = ()) -> list[str]:
    """Return what keeps these nodes from being a dataflow, of which `run_here` run in this process (empty: all)."""
    if not nodes:
        return ["the graph has no nodes"]
    found = [line for node in nodes.values() for line in (*_node_mistakes(node, nodes), *_edge_mistakes(node, nodes))]
    return [
        *found,
        *_cycles(nodes),
        *_frame_mistakes(nodes),
        *_unused_outputs(nodes),
        *_unstored_verdicts(nodes),
        *_unstored_events(nodes),
        *_cut_streams(nodes, run_here),
    ]


def _node_mistakes(node: Node, nodes: Nodes) -> Iterator[str]:
    """Yield what is wrong with a node whatever its neighbours are."""
    if not NAME.fullmatch(node.name):
        yield f"{node}: `{node.name}` cannot be a name: letters, digits, `_` and `-` only, and no `_errors` at its end"
    if node.name in RESERVED_NAMES:
        yield f"{node}: the name `{node.name}` is taken: use another name"
    if (node.name == INCIDENT) != node.is_kind(IncidentGrouping):
        yield f"{node}: the node that groups events into incidents is called `{INCIDENT}`, and no other: use another name"
    kind = node.kind
    if kind is None:
        return
    if not node.is_kind(*METHODS):
        yield f"{node}: {kind.__name__} is a bare Component: derive it from Source, Stage, Sink, Consumer or Job"
        return
    base = next(base for base in METHODS if issubclass(kind, base))
    if all(getattr(kind, method) is getattr(base, method, None) for method in METHODS[base]):
        lacks = " or ".join(
            f"`{method}`" for method in METHODS[base] if method != "build" or base in (Source, Sink, Job)
        )
        yield f"{node}: the class {kind.__name__} lacks {lacks}"
    if not issubclass(kind, Source) and not kind.accepts:
        yield f"{node}: the class {kind.__name__} does not say what it `accepts`"
    if base is Stage and kind.emits is None:
        yield f"{node}: the class {kind.__name__} does not say what it `emits`"
    if kind.emits is not None and not isinstance(kind.emits, type):
        yield f"{node}: {kind.__name__} has `emits = {kind.emits}`: it has to be a class"
    elif makes_frames(node):
        yield f"{node}: {kind.__name__} emits {name_of(kind.emits)}, but only the ledger makes frames: emit Upload, and let `files` read it"
    if odd_types := [a for a in types(kind.accepts) if not isinstance(a, type)]:
        yield f"{node}: {kind.__name__} has {odd_types} in `accepts`: each has to be a class"
    if base in (Consumer, Notifier) and (odd := [name_of(a) for a in node.accepts() if a not in MESSAGES]):
        yield f"{node}: {kind.__name__} accepts {' or '.join(odd)}, but a consumer gets messages: {' or '.join(map(name_of, MESSAGES))}"
    if not issubclass(kind, Source) and not node.after and not _may_lack_from(node, nodes):
        yield f"{node}: `from` is missing: it accepts {_kinds(node)}; which node does it read?"


def makes_frames(node: Node) -> bool:
    """Whether it emits frames that do not come out of the ledger, so that they would never be settled."""
    if not (_emits(node, Frame) or _emits(node, Detected)):
        return False
    return not (_carries_frames(node) or (_emits(node, Frame) and Upload in node.accepts() and node.is_kind(Source)))


def _may_lack_from(node: Node, nodes: Nodes) -> bool:
    """Whether it reads the record, and what writes there for it runs in another flow file."""
    writes = Node.commits_events if node.is_judge() or node.is_store() else Node.is_store
    return node.is_durable() and not any(map(writes, nodes.values()))


def _kinds(node: Node) -> str:
    return " or ".join(name_of(kind) for kind in node.accepts())


def _edge_mistakes(node: Node, nodes: Nodes) -> Iterator[str]:
    at = node.at("from")
    for edge in node.after:
        name, _, port = edge.partition(".")
        if name not in nodes:
            yield f"{at}: `from` names `{name}`, which is no node{did_you_mean(name, nodes)}".rstrip(".")
        elif port and (port != ERRORS or (nodes[name].kind and not nodes[name].is_kind(Stage))):
            yield f"{at}: `{name}` has no port `{port}`; a stage's is `{ERRORS}`"
        elif node.kind and nodes[name].kind:
            yield from _type_mistakes(node, edge, nodes)
    if node.only is not None:
        yield from _only_mistakes(node, nodes)


def _edge_type(edge: str, nodes: Nodes) -> type | None:
    """Return what flows along an edge; None if nothing does, or the node's component does not exist."""
    name, _, port = edge.partition(".")
    if name not in nodes:
        return None
    emits = nodes[name].emits()
    return DeadLetter if port and emits not in (Frame, Detected) else Detected if port else emits


def _type_mistakes(node: Node, edge: str, nodes: Nodes) -> Iterator[str]:
    at, emitted = node.at("from"), _edge_type(edge, nodes)
    if node.is_durable():
        if not (nodes[edge.partition(".")[0]].kind or Component).durable or "." in edge:
            stores = [name for name, other in nodes.items() if other.is_store()]
            hint = f': write `from = "{stores[-1]}"`' if stores else ""
            yield f"{at}: `{node.name}` reads the record, and `{edge}` does not write to it{hint}"
    elif emitted is None:
        yield f"{at}: nothing flows out of `{edge}`: read the node before it"
    elif not node.accepts():
        yield f"{at}: {name_of(node.kind)} reads nothing: remove `from`"
    elif not issubclass(emitted, node.accepts()):
        yield f"{at}: `{node.name}` accepts {_kinds(node)}, but `{edge}` emits {name_of(emitted)}"
    elif node.is_kind(Journal) and issubclass(emitted, Frame | Detected):
        yield f"{at}: `{node.name}` keeps what is JSON, and `{edge}` emits {name_of(emitted)}: let a stage of yours make mappings of them"


def _only_mistakes(node: Node, nodes: Nodes) -> Iterator[str]:
    at = node.at("only")
    if node.is_kind(Job) or node.is_judge():
        yield f"{at}: `only` chooses among events and messages, and `{node.name}` reads the record as a whole"
        return
    for edge in node.after if not node.is_kind(Consumer) else ():
        if _edge_type(edge, nodes) not in (Event, Message, None):
            yield f"{at}: `only` chooses among events and messages; between `files` and `batch` no item may vanish"
            return
    if node.is_kind(Consumer) and node.kind.whole:  # type: ignore[union-attr]
        yield f"{at}: `only` cannot narrow it, it mirrors the whole feed: choose where you read"
    yield from (f"{at}: {line}" for line in only_mistakes(node.only))


def _cycles(nodes: Nodes) -> Iterator[str]:
    edges = {node.name: [name for name in node.upstream() if name in nodes] for node in nodes.values()}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        circle = " → ".join(f"`{name}`" for name in error.args[1])
        yield f"{nodes[error.args[1][0]].where('from')}the graph goes round in a circle: {circle}"


def _frame_mistakes(nodes: Nodes) -> Iterator[str]:
    """Check that frames come from one source, flow down one line, and end in one batch."""
    starts = [node for node in nodes.values() if node.is_kind(Source) and _emits(node, Frame)]
    ends = [node for node in nodes.values() if _is_batch(node)]
    for several, role in ((starts, "hands out frames"), (ends, "makes events of them")):
        if len(several) > 1:
            listed = ", ".join(f"`{n.name}`" for n in several)
            yield f"{several[1].where('')}only one node {role}, but there are {len(several)}: {listed}"
    known = all(node.kind for node in nodes.values())
    for start in starts if known else ():
        if not any(start.name in _ancestors(end, nodes) for end in ends):
            yield f"{start}: its frames reach no `batch`: nothing would ever be settled"
    for end in ends:
        for node in (end, *(nodes[name] for name in sorted(_ancestors(end, nodes)))):
            if len(node.after) > 1 and not node.is_kind(Source) and node.accepts() and _carries_frames(node):
                yield f"{node.at('from')}: reads {len(node.after)} nodes, but merging streams does not keep order: between `files` and `batch` there is one line"


def _emits(node: Node, kind: type) -> bool:
    return issubclass(node.emits() or Component, kind)


def _carries_frames(node: Node) -> bool:
    return any(isinstance(kind, type) and issubclass(kind, Frame | Detected) for kind in node.accepts())


def _is_batch(node: Node) -> bool:
    return node.is_kind(Stage) and node.emits() is Event and Detected in node.accepts()


def _ancestors(node: Node, nodes: Nodes) -> set[str]:
    """Return the names of all nodes whose items reach this one."""
    found: set[str] = set()
    ahead = list(node.upstream())
    while ahead:
        name = ahead.pop()
        if name in nodes and name not in found:
            found.add(name)
            ahead += nodes[name].upstream()
    return found


def _unused_outputs(nodes: Nodes) -> Iterator[str]:
    """Find sources whose items no node reads, and stages whose uploads no node reads."""
    taken = {name for node in nodes.values() for name in node.upstream()}
    files = next((n.name for n in nodes.values() if n.is_kind(Source) and _emits(n, Frame)), "files")
    for node in nodes.values():
        emits = node.emits()
        if (
            node.name in taken
            or emits is None
            or _emits(node, Frame)
            or not (node.is_kind(Source) or _emits(node, Upload))
        ):
            continue
        where = f"`{files}`" if _emits(node, Upload) else "a node"
        yield f'{node}: nothing takes what it emits ({name_of(emits)}): add `from = "{node.name}"` to {where}'


def _unstored_verdicts(nodes: Nodes) -> Iterator[str]:
    """Find judges whose verdicts no node stores."""
    for node in nodes.values():
        readers = [other for other in nodes.values() if node.name in other.upstream()]
        if node.is_judge() and not any(reader.is_kind(Sink) and reader.is_store() for reader in readers):
            yield f'{node}: nothing stores its verdicts: add a `sqlite` node with `from = ["{node.name}"]`'


def _unstored_events(nodes: Nodes) -> Iterator[str]:
    """Find events that a store would ignore: it knows those that `batch` made, and no others."""
    for node in nodes.values():
        for name in node.upstream() if node.is_store() and node.is_kind(Sink) else ():
            up = nodes.get(name)
            if up is None or up.kind is None or up.emits() is not Event or Event not in node.accepts():
                continue
            if not any(
                other.kind is None or other.kind.durable for other in (up, *(nodes[n] for n in _ancestors(up, nodes)))
            ):
                yield f"{node.at('from')}: `{node.name}` stores what comes of events that `batch` made, and `{name}` makes its own: let another sink read them"


def _cut_streams(nodes: Nodes, run_here: tuple[str, ...]) -> Iterator[str]:
    """Find edges between processes that are not durable: a stream ends with its process."""
    for name in run_here:
        if name not in nodes:
            yield f"`nodes` names `{name}`, which is no node{did_you_mean(name, nodes)}".rstrip(".")
    for node in nodes.values() if run_here else ():
        for name in node.upstream():
            if name not in nodes or (node.name in run_here) == (name in run_here) or is_durable_edge(nodes[name], node):
                continue
            there, reader = (name, node.name) if node.name in run_here else (node.name, name)
            yield f"{node.at('from')}: `nodes` cuts the stream from `{name}`: run `{there}` where `{reader}` runs"


def is_durable_edge(up: Node, node: Node) -> bool:
    """Whether what flows from `up` to `node` is in the record by then, so that the stream is only a wake-up."""
    return node.is_durable() or (up.commits_events() and node.is_kind(Sink) and node.is_store())
