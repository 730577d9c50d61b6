"""`python -m insightv_core ...` is `insightv ...`."""

import sys

from insightv_core.cli import main

sys.exit(main())
