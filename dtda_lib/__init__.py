"""Training data attribution as distributions: helpers of the notebooks.

The modules stand on floors, each importing only from those above it:
`task`, `tasks` (what is learned), `models`, `removal`, `protocols` (which runs), `measures`,
`recipes`, `training` (the trainer), `fingerprint`, `store`, `executors`, `shards`, `shifts`, `bank`
(many runs, cached), `attribution`, `over_seeds`, `power`, `significance`, `agreement`, then
`study`, `checks`, `claims`, `figures` and `progress` around them.
"""

import os

# With spinning OpenMP threads a busy CPU slows small trainings up to a hundredfold. libgomp reads
# this once, when torch is first imported, so it is set before anything else.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
