"""Our estimators and five public libraries on one task and the same models, against dense oracles.

    pip install -e '.[anchors,test]'
    python tests/benchmarks/anchors.py [--quick] [--out FILE]

Writes JSON, to tests/benchmarks/anchors.json unless told otherwise, which notebook 12 shows. Takes
about five minutes on 2 cores; let nothing else run, because seconds are part of the result. A
library that is not installed is listed as "not installed". `--quick` only shows that all runs, and
writes nothing unless `--out` says where.

For each of `MODELS` trained models every method (`OURS`, and `adapters.ADAPTERS`) gives its scores
`(train, query)`. They are compared with two oracles at the same damping, written here without any
estimator's code: influence with the dense Gauss-Newton matrix and with the dense Hessian of the
objective. Then LDS of mean, variance and W2, as in notebook 08: every model's query losses moved by
its scores, against retraining without halves of the training set, with other seeds. Methods without
a unit borrow the scale of `if_ggn` by one factor. Seconds: one model, one thread, everything that
the call needs (building the library's objects too), median of repeats after a first call.
"""

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version as version_of
from pathlib import Path

os.environ.setdefault("DTDA_CACHE", "off")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import xarray as xr
from adapters import ADAPTERS, Scores, version
from oracles import against, influence, pearson, t_interval
from torch import Tensor

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.images import pooled
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.experiments.evaluating_under_noise import lds as evaluation_lds
from dtda_lib.experiments.evaluating_under_noise import setting as evaluation
from dtda_lib.models.networks import Network, get_model
from dtda_lib.runs.executors import available_cores, worker_pool
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import paired
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_k_out, nothing
from dtda_lib.runs.store import write_atomic
from dtda_lib.study.artefacts import to_json
from dtda_lib.study.banks import Trained
from dtda_lib.study.provenance import cpu_model

FORMAT = 1
RESULT = Path(__file__).with_name("anchors.json")
PER_CLASS, QUERIES_PER_CLASS, WIDTHS = 30, 10, (49, 32, 16, 10)  # 2,298 parameters
RECIPE = Recipe("sgd", lr=0.2, weight_decay=1e-3, batch_size=30, epochs=60)
POSTERIOR = evaluation.POSTERIOR | {"draws": 100}
MODELS, SUBSETS, TRUTH_SEEDS = 32, 40, 64
EXTRA = 0.01  # our choice, the same for every method, not tuned
DAMPING = RECIPE.weight_decay + EXTRA  # what every method adds to its curvature
MARGIN = 1e-3  # a lead of a library over ours that does not count: float32, and kernels
METRICS = {"mean": "mean", "log_variance_ratio": "variance", "w2_debiased": "W2"}

# Label -> estimator, whether scores have the unit of a shift, settings, what it is.
OURS: dict[str, tuple[str, bool, dict, str]] = {
    "if_ggn": ("influence_ggn", True, {"damping": EXTRA}, "Gauss-Newton, exact"),
    "if_ekfac": ("influence_ekfac", True, {"damping": EXTRA}, "EK-FAC, exact loss curvature"),
    "if_hessian": ("influence_hessian", True, {"damping": EXTRA}, "exact Hessian"),
    "grad_dot": ("gradient_similarity", False, {}, "grad-dot"),
    "grad_cos": ("gradient_similarity", False, {}, "grad-cos"),
    "trak": ("trak", True, {"damping": EXTRA}, "TRAK without projection"),
    "bif": ("posterior_covariance", True, POSTERIOR, "covariance over a posterior"),
}


def the_setting() -> Trained:
    task = get_task("mnist3", per_class=PER_CLASS, queries_per_class=QUERIES_PER_CLASS)
    model = get_model("mlp", widths=WIDTHS, activation="tanh")
    return Trained(task=pooled(task, 4), model=model, recipe=RECIPE, name="digits")


# --- methods --------------------------------------------------------------------------


def our_scores(label: str) -> Scores:
    name, _, settings, _ = OURS[label]
    estimator = get_estimator(name, RECIPE, **settings)
    at = estimator.labels["estimator"].index(label)
    return lambda network, theta, task, damping: estimator(network, theta, task)[at]


def methods() -> dict[str, Scores]:
    """All that can run here: ours, then the installed libraries'."""
    theirs = {name: a.scores for name, a in ADAPTERS.items() if version(a.package)}
    return {label: our_scores(label) for label in OURS} | theirs


def at_one_model(number: int, theta: Tensor, task: Task) -> dict[str, np.ndarray]:
    """Scores of every method and the oracles at one model, float64."""
    torch.set_num_threads(1)
    network = Network.of(get_model("mlp", widths=WIDTHS, activation="tanh"))
    found = {f"oracle {k}": v for k, v in influence(network, theta, task, DAMPING).items()}
    for name, scores in methods().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the Hessian is indefinite, which the result says
            found[name] = scores(network, theta, task, DAMPING)
    return {name: value.detach().double().numpy() for name, value in found.items()}


# --- what is measured -----------------------------------------------------------------------------


def trained(setting: Trained, n: int, workers: int) -> tuple[xr.DataArray, np.ndarray]:
    """Query losses `(seed, query)` and weights `(seed, parameter)` of the attributed models."""
    runs = paired(nothing(setting.task.n_train), evaluation.seeds(n, "models"))
    weights = Measure("theta", ("parameter",), "none", lambda network, theta, task: theta)
    measures = ["query_loss", weights]
    bank = setting.bank(runs, measures, "attributed models", workers=workers)
    theta = bank.dataset()["theta"].isel(removal=0, checkpoint=-1).values
    return evaluation.law_before(bank), theta


def lead(scores: dict[str, np.ndarray], ours: str, theirs: list[str]) -> dict[str, object]:
    """Our correlation with the exact Gauss-Newton matrix less that of the best of `theirs`."""
    each = {n: pearson(scores[n], scores["oracle ggn"], (1, 2)) for n in {ours, *theirs}}
    best = max(theirs, key=lambda name: each[name].mean(), default=None)
    found = {"ours": ours, "best": best, "margin": MARGIN}
    return found if best is None else found | t_interval(each[ours] - each[best])


def scale_borrowed(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of all methods; those without a unit by one factor of the size of `if_ggn`."""
    size = np.sqrt((scores["if_ggn"] ** 2).mean())
    units = {n: OURS[n][1] if n in OURS else ADAPTERS[n].unit for n in scores if n in known()}
    return {
        name: scores[name] * (1.0 if unit else size / np.sqrt((scores[name] ** 2).mean()))
        for name, unit in units.items()
    }


def known() -> set[str]:
    return {*OURS, *ADAPTERS}


def lds_rows(
    setting: Trained, base: xr.DataArray, scores: dict, args: argparse.Namespace
) -> tuple[dict, float]:
    """LDS of each method by metric, and the runs per second of the truth."""
    n = setting.task.n_train
    design = leave_k_out(n, n // 2, args.subsets, np.random.default_rng(8))
    groups = [(row == 0).nonzero().flatten().tolist() for row in design.weights[1:]]
    start = time.perf_counter()
    runs = paired(design, evaluation.seeds(args.seeds, "truth"))
    # Shards of 512 runs, so that workers share the bank.
    bank = setting.bank(runs, ["query_loss"], "subsets", chunk=512, workers=args.workers).fill()
    rate = len(bank.runs) / (time.perf_counter() - start)
    shifts = {
        name: xr.DataArray(
            values, dims=("seed", "train", "query"),
            coords={"seed": base["seed"].values, "train": range(n), "query": base["query"].values},
        )
        for name, values in scale_borrowed(scores).items()
    }  # fmt: skip
    found = evaluation_lds.group_scores(bank, groups, base, shifts, np.random.default_rng(0))
    table = evaluation_lds.lds_table({("digits", "half"): found})
    rows: dict[str, dict] = {}
    for row in table[table["metric"].isin(METRICS)].to_dict("records"):
        kept = {key: row[key] for key in ("lds", "low", "high", "ceiling", "truth_ceiling", "null")}
        rows.setdefault(row["method"], {})[METRICS[row["metric"]]] = kept
    return rows, rate


def seconds(call: Callable[[], object], rounds: int) -> dict[str, float]:
    """Median and range of `rounds` calls after a first one."""
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return {"median": statistics.median(times), "low": min(times), "high": max(times)}


def timed(theta: Tensor, task: Task, rounds: int) -> dict[str, dict]:
    """Seconds of each method at the first model; methods take turns, so none has the quiet hour."""
    torch.set_num_threads(1)
    network = Network.of(get_model("mlp", widths=WIDTHS, activation="tanh"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: seconds(lambda scores=scores: scores(network, theta, task, DAMPING), rounds)
            for name, scores in methods().items()
        }


# --- the result -----------------------------------------------------------------------------------


def describe(name: str) -> dict:
    if name in OURS:
        _, unit, settings, what = OURS[name]
        own = {"library": None, "version": None, "ours": name, "settings": settings}
        return own | {"method": name, "what": what, "unit": unit}
    adapter = ADAPTERS[name]
    own = {"library": adapter.package, "version": version(adapter.package), "ours": adapter.ours}
    own |= {"settings": {"damping": DAMPING}}
    return own | {"method": name, "what": adapter.method, "unit": adapter.unit}


def run(args: argparse.Namespace) -> dict:
    setting = the_setting()
    task = setting.task
    base, weights = trained(setting, args.models, args.workers)
    thetas = [torch.from_numpy(one) for one in weights]
    with worker_pool(args.workers) as pool:
        futures = [pool.submit(at_one_model, i, t, task) for i, t in enumerate(thetas)]
        each = [future.result() for future in futures]
    scores = {name: np.stack([one[name] for one in each]) for name in each[0]}
    for name, values in scores.items():
        if not np.isfinite(values).all():
            raise SystemExit(f"anchors: {name} returned scores that are not finite.")
    lds, rate = lds_rows(setting, base, scores, args)
    took = timed(thetas[0], task, args.rounds)
    rows = []
    for name in (*OURS, *ADAPTERS):
        row = describe(name)
        if name not in scores:
            rows.append(row | {"status": "not installed"})
            continue
        row |= {"status": "measured", "lds": lds[name], "seconds": took[name]}
        row["ratio"] = took[name]["median"] / took[row["ours"]]["median"]
        row["oracle"] = {
            kind: against(scores[name], scores[f"oracle {kind}"], row["unit"])
            for kind in ("ggn", "hessian")
        }
        rows.append(row)
    theirs = [name for name in ADAPTERS if name in scores]
    alike = [name for name in theirs if ADAPTERS[name].ours == "if_ekfac"]
    lowest = scores["oracle lowest"] + RECIPE.weight_decay
    return {
        "format": FORMAT,
        "command": "python tests/benchmarks/anchors.py",
        "settings": {
            "task": task.name, "train": task.n_train, "queries": task.n_query,
            "widths": list(WIDTHS), "activation": "tanh", "parameters": int(weights.shape[1]),
            "optimiser": RECIPE.optimiser, "rate": RECIPE.lr, "l2": RECIPE.weight_decay,
            "batch": RECIPE.batch_size, "epochs": RECIPE.epochs, "damping": DAMPING,
            "models": args.models, "subsets": args.subsets, "left_out": task.n_train // 2,
            "truth_seeds": args.seeds, "rounds": args.rounds,
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version_of(name) for name in ("torch", "numpy", "scipy")},
        },
        "machine": {
            "processor": cpu_model(), "cores": available_cores(), "threads_when_timed": 1,
            "runs_per_second": rate,
        },
        "models": {
            "query_loss": float(base.mean()),
            "lowest_curvature": {"median": float(np.median(lowest)), "low": float(lowest.min())},
        },
        "lead": {
            "EK-FAC": lead(scores, "if_ekfac", alike), "any": lead(scores, "if_ggn", theirs),
        },
        "rows": rows,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only show that all runs")
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    parser.add_argument("--workers", type=int, default=available_cores())
    args = parser.parse_args()
    args.models, args.subsets, args.seeds, args.rounds = (
        (6, 5, 6, 1) if args.quick else (MODELS, SUBSETS, TRUTH_SEEDS, 5)
    )
    start = time.perf_counter()
    text = to_json(run(args))
    out = args.out or (None if args.quick else RESULT)
    if out:
        write_atomic(out, text)
    else:
        sys.stdout.write(text)
    print(f"anchors: {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
