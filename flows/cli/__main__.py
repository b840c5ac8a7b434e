"""`python -m flows.cli`: the `hearthwatch` command where its script is not on the path."""

from flows.cli import main

main()
