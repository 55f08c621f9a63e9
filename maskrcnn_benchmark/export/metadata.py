from centermask_runtime.metadata import *
