"""The host's web server, where there is one: nodes can run without."""

from __future__ import annotations

import sys
from typing import Any


def running_server() -> Any | None:
    """The host's PromptServer; None where nodes run without a server."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
