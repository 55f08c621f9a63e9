"""The errors of data that cannot be used."""


class DatasetError(ValueError):
    """The error of a data set: its text names the file, what was expected and what came."""


class ImageReadError(DatasetError):
    """The error of an image file that cannot be read: its text names the file and the reason."""
