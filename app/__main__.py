"""`python -m app [PROJECT]` is `insightv app [PROJECT]`."""

import sys

from insightv_core.cli import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
