"""`python tests/parity.py DIR`: recorded cases of the published code through the engine; see tests/parity/run.py."""

import sys
from pathlib import Path

import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])  # a checkout needs no installation

from tests.parity.run import main  # noqa: E402

if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(min(2, torch.get_num_threads()))
    sys.exit(main())
