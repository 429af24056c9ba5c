"""Loads the pack in a host process and prints, as JSON, what that took and which modules it brought in.

wall, processor: seconds for the pack. host: processor seconds the process had spent before.
"""

import asyncio
import json
import os
import sys
import time

import hostboot

# isort: split
import comfy_api.latest  # noqa: F401  every V3 pack shares it

import nodes

sys.stdout = sys.stderr
mask_nodes = os.path.join(hostboot.HOST, "comfy_extras", "nodes_mask.py")
asyncio.run(nodes.load_custom_node(mask_nodes, module_parent="comfy_extras"))
before = set(sys.modules)
folder = sys.argv[1]
wall, processor = time.perf_counter(), time.process_time()
loaded = asyncio.run(nodes.load_custom_node(folder))
took = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor, "host": processor}
modules = sorted(name for name in set(sys.modules) - before if not name.startswith(folder.replace(".", "_x_")))
print(json.dumps({"loaded": loaded, "modules": modules, **took}), file=sys.__stdout__)
