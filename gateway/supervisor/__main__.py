"""``python -m gateway.supervisor``: what ``tokenweir serve`` becomes when there are several workers."""

from __future__ import annotations

import sys

from gateway.supervisor.run import main

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
