"""ComfyUI nodes: thin glue between the host and the engine in `cones2`."""
