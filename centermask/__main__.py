"""``python -m centermask``, where the command is not on the path."""

import sys

from maskrcnn_benchmark.cli import main

sys.exit(main())
