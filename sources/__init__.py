"""Where items come from: upload folders, drawn cameras, the record's queues."""

if __name__ != "hearthwatch.sources":
    raise ImportError("import hearthwatch.sources: the rooms of Hearthwatch are imported by this name only")
