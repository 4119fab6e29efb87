"""Who may call a stand-in, and how often."""

import secrets
import time
from collections import deque

from starlette.requests import Request


def carries_key(request: Request, key: str) -> bool:
    """Whether the request has `Authorization: Bearer <key>`."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and secrets.compare_digest(given.encode(), key.encode())


class RateLimit:
    """At most `most` requests within the last `window` seconds."""

    def __init__(self, most: int, window: float) -> None:
        self._most = most
        self._window = window
        self._times: deque[float] = deque()

    def admits(self) -> bool:
        """Whether one more request is admitted, which then counts."""
        now = time.monotonic()
        while self._times and now - self._times[0] > self._window:
            self._times.popleft()
        if len(self._times) >= self._most:
            return False
        self._times.append(now)
        return True

    def wait(self) -> float:
        """Seconds until the oldest request that counts no longer does."""
        return max(0.0, self._times[0] + self._window - time.monotonic()) if self._times else 0.0
