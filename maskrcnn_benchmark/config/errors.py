"""The errors of settings that cannot be used; imports nothing, so everybody may import it."""


class ConfigError(ValueError):
    """The error of a setting: its text names the key, what was expected and what came."""


class UnknownNameError(ConfigError, KeyError):
    """The error of a name that is not known, as a key or in a registry.

    Also a ``KeyError``, which scripts catch where they look a name up.
    """

    def __str__(self) -> str:
        # KeyError's would be the repr of the text.
        return ValueError.__str__(self)


class NotYetAvailableError(ConfigError):
    """The error of a setting that is valid but asks for a part which is not there yet.

    Args:
        part: what was asked for, as the user spelled it, e.g. ``"V-39-eSE-FPN-RETINANET"``.
        needs: what the part is waiting for, e.g. ``"the VoVNetV2 backbones"``.
    """

    def __init__(self, part: str, needs: str) -> None:
        super().__init__(f"this part ({part}) is not there yet; it needs {needs}")
        self.part = part
        self.needs = needs

    def __reduce__(self) -> tuple[type["NotYetAvailableError"], tuple[str, str]]:
        return type(self), (self.part, self.needs)
