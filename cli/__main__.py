"""`python -m hearthwatch.cli`: the `hearthwatch` command where its script is not on the path."""

from hearthwatch.cli import main

main()
