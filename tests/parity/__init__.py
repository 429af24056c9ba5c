"""Runs recorded cases of the published code through the engine; `run.main` is the command."""
