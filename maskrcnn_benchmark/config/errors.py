"""The errors of settings that cannot be used."""

from centermask_runtime.errors import ConfigError as ConfigError
from centermask_runtime.errors import UserError as UserError


class UnknownNameError(ConfigError, KeyError):
    """The error of a name that is not known, as a key or in a registry.

    Also a ``KeyError``, which scripts catch where they look a name up.
    """

    def __str__(self) -> str:
        # KeyError's would be the repr of the text.
        return ValueError.__str__(self)


class MissingPackageError(UserError, ImportError):
    """The error of a package that only some uses need, and that is not installed.

    Args:
        package: its name.
        requirement: what pip installs it by, quoted for a shell if need be.
    """

    def __init__(self, package: str, requirement: str) -> None:
        super().__init__(
            f"this needs the package {package}, which is not installed: pip install {requirement}"
        )
