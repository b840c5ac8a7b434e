"""The graph: nodes and typed edges that become one Bytewax dataflow."""

if __name__ != "hearthwatch.flows":
    raise ImportError("import hearthwatch.flows: the rooms of Hearthwatch are imported by this name only")
