"""What unrolling all training points of a small network costs, against training the same runs.

    python unrolling.py [--quick]

On one thread, as in a worker: UCI Concrete, 100 training points, networks of 211 and 433
parameters, SGD with batches of 20. Prints one line of JSON per network: milliseconds of a step of
one run when it trains alone, in a stack of runs, and when it is unrolled for all points; and how
many trainings of the same run an unrolling costs, alone and in the stack.
"""

import json
import sys

from dtda_lib.data.named import get_task
from dtda_lib.experiments.predicting_retrained_laws.estimates import unrolling_cost
from dtda_lib.models.networks import Network, get_model
from dtda_lib.runs.recipes import Recipe

RECIPE = Recipe("sgd", lr=0.1, weight_decay=1e-3, batch_size=20, epochs=100, schedule="linear")


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
