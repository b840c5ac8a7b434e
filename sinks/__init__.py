"""Where items go: the record, the lake, Redis, notifiers, thumbnails."""

if __name__ != "hearthwatch.sinks":
    raise ImportError("import hearthwatch.sinks: the rooms of Hearthwatch are imported by this name only")
