"""Seconds and peak memory of every estimator on one checkpoint: one JSON line a method.

`python tests/benchmarks/estimators.py [--quick] [method ...]`: the scores of all 150 x 900 pairs of
MNIST3 (50 digits a class, 300 queries a class) on one CNN2-L as published, trained once, each
method in a process of its own, so that no other's memory counts. "peak" is the most resident
memory over what the process held before the estimator began. The exact Hessian refuses networks of
this size and has its line with that sentence. Scores of the whole ensemble take this times runs and
checkpoints.
"""

import json
import os
import subprocess
import sys
import time

os.environ["DTDA_CACHE"] = "off"

import psutil
import torch
from memory import peak_of_family

from dtda_lib.attribution.registry import ESTIMATORS, get_estimator
from dtda_lib.data.named import mnist3
from dtda_lib.models.networks import Network, get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import get_recipe
from dtda_lib.runs.removal import nothing
from dtda_lib.runs.training import with_channels_last


def one(method: str, quick: bool) -> dict:
    """The line of one method, run in this process."""
    task, model = mnist3(*((10, 20) if quick else (50, 300))), get_model("cnn2l")
    network, recipe = Network.of(model), get_recipe("published_adam")
    runs = paired(nothing(task.n_train), seed_pairs(1))
    trained = RunBank(task, model, recipe, runs, ["parameters"], workers=1)
    theta = torch.as_tensor(trained.dataset()["parameters"].isel(checkpoint=-1).values).flatten()
    estimator = get_estimator(method, recipe)
    task = with_channels_last(task)
    line = {
        "name": method,
        "train": task.n_train,
        "query": len(task.query_x),
        "parameters": len(theta),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    try:
        with peak_of_family() as peak:
            estimator(network, theta, task)
    except ValueError as refusal:
        return line | {"refused": str(refusal)}
    seconds = time.perf_counter() - start
    return line | {"seconds": round(seconds, 2), "peak_mib": round((peak[0] - before) / 2**20)}


def main() -> None:
    arguments = [each for each in sys.argv[1:] if not each.startswith("--")]
    quick, alone = "--quick" in sys.argv, "--alone" in sys.argv
    if alone:
        print(json.dumps(one(arguments[0], quick)))
        return
    for method in arguments or ESTIMATORS:
        command = [sys.executable, __file__, method, "--alone", *["--quick"] * quick]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
