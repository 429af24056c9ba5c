"""Tests that interrupt a process work from a shell that ignores interrupts."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.support.signals import default_signals

SHOW = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"


def test_a_child_can_be_interrupted_though_its_parent_ignores_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with default_signals():
            shown = subprocess.check_output([sys.executable, "-c", SHOW], text=True)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert shown == "True\n"
