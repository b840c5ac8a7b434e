"""The graph: nodes and typed edges that become one Bytewax dataflow."""
