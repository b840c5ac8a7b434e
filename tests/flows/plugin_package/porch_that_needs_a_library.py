"""A plug-in whose own dependency is missing."""

import a_library_that_is_not_there  # noqa: F401
