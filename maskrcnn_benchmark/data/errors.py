"""The errors of data that cannot be used."""

from maskrcnn_benchmark.config.errors import UserError


class DatasetError(UserError):
    """The error of a data set: its text names the file, what was expected and what came."""


class ImageReadError(DatasetError):
    """The error of an image file that cannot be read: its text names the file and the reason."""
