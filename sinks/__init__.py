"""Where items go: into the record, to the lake, to whoever wants to hear of events."""
