"""The errors of data that cannot be used."""

from centermask_runtime.errors import DatasetError as DatasetError
from centermask_runtime.errors import ImageReadError as ImageReadError
