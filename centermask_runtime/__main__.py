"""``python -m centermask_runtime``."""

import sys

from centermask_runtime.command import main

sys.exit(main())
