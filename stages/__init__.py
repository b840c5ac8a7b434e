"""What turns items into items: detect, batch, judge."""

if __name__ != "hearthwatch.stages":
    raise ImportError("import hearthwatch.stages: the rooms of Hearthwatch are imported by this name only")
