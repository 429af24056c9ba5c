"""Sets the host's options before anything of it is imported: CPU, PyTorch attention, fixed threads.

The host is found through COMFYUI_PATH; its folder, never the pack's, goes on sys.path. CONES2_BASE, when
set, is the base directory: models, input, output, user and custom_nodes live there.
"""

import os
import sys

HOST = os.environ["COMFYUI_PATH"]
sys.path.insert(0, HOST)

import comfy.options  # noqa: E402

arguments = ["--cpu", "--use-pytorch-cross-attention", "--disable-api-nodes"]
if base := os.environ.get("CONES2_BASE"):
    arguments += ["--base-directory", base]
original, sys.argv = sys.argv, [sys.argv[0], *arguments]
comfy.options.enable_args_parsing()

from comfy.cli_args import args  # noqa: E402, F401  parses sys.argv on import

sys.argv = original

import torch  # noqa: E402

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
