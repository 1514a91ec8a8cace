"""`python -m dtda_lib.study.pages`: every generated page made anew."""

import sys

from . import write

try:
    paths = write()
except ValueError as missing:
    sys.exit(str(missing))
print("\n".join(f"written: {path}" for path in paths) or "all pages are as the evidence has them")
