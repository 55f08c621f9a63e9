"""Stands in for a user's catalog in processes that a run starts with a fresh interpreter.

Where such a process unpickles what the catalog defines, such as a data set of one's own, it imports
this module, which becomes the file that the first process has noted.
"""

import os

from maskrcnn_benchmark.utils.imports import import_file

import_file(__name__, os.environ["CENTERMASK_USERS_CATALOG"], make_importable=True)
