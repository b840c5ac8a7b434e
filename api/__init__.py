"""The read API and the page."""

if __name__ != "hearthwatch.api":
    raise ImportError("import hearthwatch.api: the rooms of Hearthwatch are imported by this name only")
