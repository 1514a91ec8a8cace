"""nbval settings: a cold cache, no writing, and numbers compared within each cell's tolerance.

pytest --nbval-lax --nbval-current-env --nbval-sanitize-with notebooks/sanitize.cfg notebooks
"""

import functools
import os
import shutil
import tempfile

from dtda_lib.study.tolerant import ROUNDED, snap_outputs, tolerances

_created = []


def pytest_configure(config):
    os.environ.update(DTDA_CHECK="1", MPLBACKEND="agg", OMP_WAIT_POLICY="passive")
    if "DTDA_CACHE" not in os.environ:
        # A warm cache would compare yesterday's training with itself.
        _created.append(tempfile.mkdtemp(prefix="dtda-cold-"))
        os.environ["DTDA_CACHE"] = _created[0]
    _patch_nbval()


def pytest_unconfigure(config):
    for folder in _created:
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("DTDA_CACHE", None)
    _created.clear()


def _patch_nbval():
    """nbval compares strings; give it the reference's text where all numbers are close enough."""
    from nbval.plugin import IPyNbCell

    exact = IPyNbCell.compare_outputs
    if hasattr(exact, "__wrapped__"):
        return

    @functools.wraps(exact)
    def compare_outputs(self, test, ref, *args, **kwargs):
        # Progress is no result, and committed notebooks store none (run_all.sh --update).
        test, ref = ([out for out in side if out.get("name") != "stderr"] for side in (test, ref))
        tags = self.cell.metadata.get("tags", [])
        rtol, atol = tolerances(tags)
        snapped = snap_outputs(ref, test, rtol, atol, self.sanitize, rounded=ROUNDED in tags)
        return exact(self, snapped, ref, *args, **kwargs)

    IPyNbCell.compare_outputs = compare_outputs
