"""What unrolling all training points of a small network costs, against training the same runs.

    python unrolling.py [--quick]

On one thread, as in a worker: UCI Concrete, 100 training points, networks of 211 and 433
parameters, SGD with batches of 20. Prints one line of JSON per network: milliseconds of a step of
one run when it trains alone, in a stack of runs, and when it is unrolled for all points; and how
many trainings of the same run an unrolling costs, alone and in the stack.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from dtda_lib.attribution.unrolling import unrolled_shifts
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network, get_model
from dtda_lib.runs.measures import query_prediction
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.training import train

RECIPE = Recipe("sgd", lr=0.1, weight_decay=1e-3, batch_size=20, epochs=100, schedule="linear")


def unrolling_cost(
    task: Task,
    model: Model,
    recipe: Recipe,
    *,
    n_runs: int = 8,
    n_stacked: int = 256,
    epochs: int = 5,
) -> dict[str, float]:
    """Seconds a run, on one thread: training alone, training in a stack, unrolling all points.

    Of a training of `epochs` epochs, as all grow in proportion. "alone" trains one run, as a plain
    script does, "stacked" `n_stacked` runs at once, "unrolled" unrolls `n_runs` at once.
    """
    short, threads = replace(recipe, epochs=epochs, keep_last=1), torch.get_num_threads()

    def trained(first: int, runs: int) -> None:
        seeds = [seed for seed, _ in seed_pairs(first + runs)[first:]]
        weights = torch.ones(runs, task.n_train)
        train(task, model, short, seeds, seeds, weights, [query_prediction])

    def unroll(recipe: Recipe) -> None:
        unrolled_shifts(task, model, recipe, seed_pairs(n_runs), query_prediction)

    def timed(work: Callable[[], None], runs: int) -> float:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) / runs

    torch.set_num_threads(1)
    try:
        trained(0, 1)  # whatever is made on the first call
        unroll(replace(short, epochs=1))
        return {
            "alone": timed(lambda: trained(0, 1), 1),
            "stacked": timed(lambda: trained(0, n_stacked), n_stacked),
            "unrolled": timed(lambda: unroll(short), n_runs),
        }
    finally:
        torch.set_num_threads(threads)


def main(quick: bool) -> None:
    task, epochs = get_task("concrete", n_train=100, n_query=40), 2 if quick else 20
    for width in (10, 16):
        model = get_model("mlp", widths=(8, width, width, 1), activation="gelu")
        size = {"n_runs": 2, "n_stacked": 16} if quick else {}
        seconds = unrolling_cost(task, model, RECIPE, epochs=epochs, **size)
        steps = epochs * 5
        found = {f"{name}_ms": float(f"{1000 * s / steps:.4g}") for name, s in seconds.items()}
        ratios = {
            f"times_{n}": round(seconds["unrolled"] / seconds[n], 1) for n in ("alone", "stacked")
        }
        print(json.dumps({"parameters": Network.of(model).layout.n_parameters} | found | ratios))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
