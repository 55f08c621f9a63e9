"""``python -m benchmarks.gpu``: all parts, or in a child process one of them."""

import sys

from benchmarks.gpu.run import main

sys.exit(main())
