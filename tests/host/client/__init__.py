"""Runs the pack on a real ComfyUI: discovery, synthetic checkpoints, a server, a worker process."""
