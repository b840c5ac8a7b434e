"""Drawn cameras, labelled stories and their evaluation."""

if __name__ != "hearthwatch.demo":
    raise ImportError("import hearthwatch.demo: the rooms of Hearthwatch are imported by this name only")
