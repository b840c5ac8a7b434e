"""What turns items into items: detect, batch, judge."""
