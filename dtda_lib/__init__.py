"""Training data attribution as distributions: helpers of the notebooks.

The modules stand on floors, each importing only from those above it:
`tasks`, `models`, `removal`, `training`, `measures`, `bank`, `executors`, `attribution`,
`significance`, `agreement`, then `study`, `checks`, `figures`, `progress` around them.
"""

import os

# With spinning OpenMP threads a busy CPU slows small trainings up to a hundredfold. libgomp reads
# this once, when torch is first imported, so it is set before anything else.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
