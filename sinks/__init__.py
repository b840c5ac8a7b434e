"""Where items go: into the record, to the lake, to whoever wants to hear of events."""

if __name__ != "hearthwatch.sinks":
    raise ImportError("import hearthwatch.sinks: the rooms of Hearthwatch are imported by this name only")
