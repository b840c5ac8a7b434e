"""Send one request to a service, to find out whether it would work: for `Component.probe` and `hearthwatch doctor`."""

from __future__ import annotations

from typing import Any

import httpx

from hearthwatch.schemas.errors import UserError

PROBE_SECONDS = 5.0


def probe_http(method: str, url: str, bad_from: int = 300, **options: Any) -> httpx.Response:
    """Return the response.

    Raises:
        UserError: there is none within `PROBE_SECONDS`, or its status is `bad_from` or above; the text says why, and names no URL.
    """
    try:
        response = httpx.request(method, url, timeout=PROBE_SECONDS, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(str(error) or f"no answer within {PROBE_SECONDS:g} s") from None
    if 200 <= response.status_code < bad_from:
        return response
    raise UserError(f"it answers {response.status_code}")
