"""`python -m redcap_sandbox`."""

import sys

from redcap_sandbox.command import main

sys.exit(main())
