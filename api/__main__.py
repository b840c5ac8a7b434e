"""`python -m hearthwatch.api`: what `hearthwatch api` runs."""

from hearthwatch.api.server import main

if __name__ == "__main__":
    main()
