"""Errors whose message is one sentence for the user: what is wrong, and what is available instead."""

from .messages import MESSAGE_LIMIT, shown


class Cones2Error(ValueError):
    """Base of every error that bad input causes. Its message is one printable line of bounded length.

    It and its subclasses print as `cones2.PromptError`, wherever the package lies: ComfyUI shows the whole name.
    """

    __module__ = "cones2"

    def __init_subclass__(cls) -> None:
        cls.__module__ = "cones2"

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, MESSAGE_LIMIT))


class ResidualError(Cones2Error):
    """A residual file or its use is wrong."""


class DeltaError(Cones2Error):
    """A Custom Diffusion file or its use is wrong."""


class PromptError(Cones2Error):
    """A subject cannot be found in the prompt."""


class LayoutError(Cones2Error):
    """A layout, color table, mask or box is wrong."""


class ConfigError(Cones2Error):
    """A guidance_config.json is wrong."""


class CheckpointError(ConfigError):
    """A training checkpoint is damaged or belongs to another run."""


class ModelError(Cones2Error):
    """A model is missing, damaged or of an unsupported kind."""


class AdapterError(Cones2Error):
    """A picture adapter, its image encoder or a subject's pictures are wrong."""


class Cancelled(Exception):
    """The user stopped a run; nothing is broken."""
