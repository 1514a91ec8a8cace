"""Peak resident memory, workers included, of the paper-profile bank; engine.py calls this.

Trains some shards of the bank, then assembles all of it with made-up results in their place.
"""

import json
import os
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

os.environ["DTDA_CACHE"] = "off"
os.environ["DTDA_BATCH"] = "1"

import numpy as np
import psutil

from dtda_lib.data.named import mnist3
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import get_recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.shifts import shift_upon_removal

WORKERS = 2


def resident(process):
    try:
        return process.memory_info().rss
    except psutil.Error:  # it ended since it was listed
        return 0


@contextmanager
def peak_of_family():
    """A list whose one entry becomes the largest memory of this process and all below it."""
    peak, over, here = [0], threading.Event(), psutil.Process()

    def watch():
        while not over.wait(0.05):
            family = [here, *here.children(recursive=True)]
            peak[0] = max(peak[0], sum(map(resident, family)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def main(quick):
    task, recipe = mnist3(50, 300), get_recipe("published_adam")
    recipe = replace(recipe, epochs=5 if quick else 15)
    bank = partial(RunBank, task, get_model("cnn2l"), recipe, workers=WORKERS)
    with peak_of_family() as peak:
        some = leave_one_out(task.n_train, points=range(1 if quick else 31))
        trained = bank(paired(some, seed_pairs(1))).fill()
        full = bank(paired(leave_one_out(task.n_train), seed_pairs(10)))
        per_run = (len(recipe.checkpoints), len(task.query_x))
        for shard in full.shards:
            # ones, because zeros would take no memory until they are written to
            full.results[shard.key] = {"query_loss": np.ones((shard.runs, *per_run), np.float32)}
        loss = full.dataset()["query_loss"]
        shift = shift_upon_removal(loss)
    facts = {"quick": quick, "workers": WORKERS, "runs_trained": len(trained.runs)}
    facts |= {"dataset": dict(loss.sizes), "shift": dict(shift.sizes)}
    facts["sampled"] = "sum of resident sizes every 50 ms; shared pages count in each process"
    print(json.dumps(facts | {"peak": peak[0]}))


if __name__ == "__main__":
    main("--quick" in sys.argv)
