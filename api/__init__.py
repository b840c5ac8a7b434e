"""The read API and the dashboard; knows only the record and the items."""
