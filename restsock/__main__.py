"""``python -m restsock`` is the command `restsock`."""

from __future__ import annotations

import sys

from restsock.cli import main

if __name__ == "__main__":
    sys.exit(main())
