from centermask_runtime.pixel import *
