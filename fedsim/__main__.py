"""``python -m fedsim``."""

import os
import sys

# Python searches the folder that a module is started in before all others; the command `fedsim` never does.
# Where that is not wished, `python -P -m fedsim` also keeps Python's own start from it.
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 -- pathlib comes from that path
    del sys.path[0]

from fedsim.cli import main

sys.exit(main())
