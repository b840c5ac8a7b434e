"""Where items come from: upload folders, drawn cameras, clocks, the record's own queues."""

if __name__ != "hearthwatch.sources":
    raise ImportError("import hearthwatch.sources: the rooms of Hearthwatch are imported by this name only")
