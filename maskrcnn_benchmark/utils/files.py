from centermask_runtime.files import *
