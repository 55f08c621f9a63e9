from centermask_runtime.photo_files import *
