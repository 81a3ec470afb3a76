"""Types of the callbacks by which long work says how far it is.

In: nothing. Out: `OnProgress` for cases, `OnBytes` for downloads and archives. A callback must return soon.
"""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[str, str, float], None]
"""Called with the case, the step and the finished fraction of the case (0 to 1)."""
OnBytes = Callable[[int, int], None]
"""Called with the bytes that are done and those of all; 0 of all where that is unknown."""
