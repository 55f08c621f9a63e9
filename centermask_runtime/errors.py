"""The errors of what a user gives; imports nothing, so everybody may import it."""


class UserError(ValueError):
    """The error of something given: settings, weights, data; its text is all that a user needs."""


class ConfigError(UserError):
    """The error of a setting: its text names the key, what was expected and what came."""


class DatasetError(UserError):
    """The error of a data set: its text names the file, what was expected and what came."""


class ImageReadError(DatasetError):
    """The error of an image file that cannot be read: its text names the file and the reason."""


class ModelFileError(UserError):
    """The error of a model file that cannot be run: its text names the file and the reason."""
