"""Where items come from: upload folders, drawn cameras, clocks, the record's own queues."""
