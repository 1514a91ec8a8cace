"""Speed and memory of the engine against straightforward scripts, measured here and now.

    python tests/benchmarks/engine.py [names ...] [--quick] [--profile NAME]

Without names all benchmarks run, one after the other; some take minutes. Each prints one line of
JSON: {"name", "ours", "baseline", "ratio", "goal", "unit", "settings"}. Rates: ratio = ours /
baseline, to be at least the goal; times: baseline / ours; memory: ratio = goal / ours, at least 1.
Baseline (plain.py, processes of its own, PyTorch's default threads) and ours alternate for some
rounds; numbers are medians, their ranges stand in the settings. `--quick` only shows that all runs.
`--profile NAME` prints where the time of ours goes. Let nothing else run on the machine.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

os.environ["DTDA_CACHE"] = "off"
os.environ["DTDA_BATCH"] = "1"

import numpy as np
import torch

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.named import concrete, mnist3
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.names import unknown
from dtda_lib.runs import measures
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.executors import available_cores
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import get_recipe, new_optimiser
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.training import best_chunk, with_channels_last
from dtda_lib.study.provenance import cpu_model

HERE = Path(__file__).parent
PLAIN, MEMORY, LIMIT = (HERE / f"{name}.py" for name in ("plain", "memory", "limit"))
WORKERS = 2


@dataclass(frozen=True)
class Size:
    quick: bool = False
    workers: int = WORKERS

    def of(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True)
class Race:
    """Ours (a rate) against a script of plain.py: the task, and its count of units and epochs."""

    goal: float
    unit: str
    task: Task
    ours: Callable[[], float]
    plain: tuple[str, int, int]
    settings: dict


def machine() -> dict:
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": cpu_model(),
        "cores": available_cores(),
        "torch_threads_here": torch.get_num_threads(),
    }


def report(name: str, ours: float, baseline: float, ratio: float, **more: object) -> None:
    numbers = {"ours": ours, "baseline": baseline, "ratio": ratio}
    shown = {key: None if x is None else float(f"{x:.4g}") for key, x in numbers.items()}
    print(json.dumps({"name": name, **shown, **more}), flush=True)


def spread(values: list[float]) -> list[float]:
    return [float(f"{end:.4g}") for end in (min(values), max(values))]


# --- rates against plain scripts -----------------------------------------------------------------


def run_plain(race: Race, data: Path, threads: int) -> dict:
    """A fresh process with the environment of a reader who never heard of OMP_WAIT_POLICY."""
    env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    name, count, epochs = race.plain
    command = [sys.executable, str(PLAIN), name, str(data), str(count), str(epochs), str(threads)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def run_race(name: str, build: Callable[[Size], Race], size: Size) -> None:
    race, rounds = build(size), size.of(3, 1)
    ours, default, single = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "task.npz"
        fields = {"x": "train_x", "y": "train_y", "query_x": "query_x", "query_y": "query_y"}
        np.savez(data, **{key: getattr(race.task, field) for key, field in fields.items()})
        for _ in range(rounds):
            default.append(run_plain(race, data, 0))
            ours.append(race.ours())
            single.append(run_plain(race, data, 1)["rate"])
    rates = [answer["rate"] for answer in default]
    mine, base, base_1 = map(statistics.median, (ours, rates, single))
    settings = machine() | {
        "quick": size.quick,
        "rounds": rounds,
        "train": race.task.n_train,
        "queries": len(race.task.query_x),
        **race.settings,
        "baseline_units_per_round": race.plain[1],
        "baseline_threads": default[0]["threads"],
        "single_thread_baseline": float(f"{base_1:.4g}"),
        "ratio_to_single_thread": float(f"{mine / base_1:.4g}"),
        "range_ours": spread(ours),
        "range_baseline": spread(rates),
        "range_single_thread_baseline": spread(single),
    }
    report(name, mine, base, mine / base, goal=race.goal, unit=race.unit, settings=settings)


def bank_rate(workers: int, **declared: object) -> float:
    """Runs per second from the declaration of a bank to its dataset, by warm workers."""
    design = leave_one_out(declared["task"].n_train, points=(0, 1))
    tiny = declared | {"runs": paired(design, seed_pairs(2 * workers))}
    tiny["recipe"] = replace(declared["recipe"], epochs=1, keep_last=1)
    RunBank(**tiny, workers=workers, chunk=1).fill()  # chunk 1: shards for every worker
    start = time.perf_counter()
    bank = RunBank(**declared, workers=workers)
    bank.dataset()
    return len(bank.runs) / (time.perf_counter() - start)


def mlp(size: Size) -> Race:
    task = concrete(n_train=320, n_query=100)
    seeds, epochs = size.of(12, 1), size.of(100, 20)
    runs = paired(leave_one_out(task.n_train), seed_pairs(seeds))
    recipe = replace(get_recipe("sgd"), epochs=epochs)
    ours = partial(
        bank_rate, size.workers, task=task, model=get_model("mlp"), recipe=recipe, runs=runs
    )
    settings = {"workers": size.workers, "epochs": epochs, "batch": 32, "runs": len(runs)}
    settings |= {"network": "8-16-16-1 ReLU", "steps": recipe.steps(task.n_train)}
    return Race(150, "runs/s", task, ours, ("mlp", size.of(8, 2), epochs), settings)


def cnn2l(size: Size) -> Race:
    task = mnist3(50, 300)
    epochs = size.of(15, 1)
    runs = paired(leave_one_out(task.n_train, points=range(size.of(15, 1))), seed_pairs(1))
    recipe = replace(get_recipe("published_adam"), epochs=epochs, keep_last=1)
    ours = partial(
        bank_rate, size.workers, task=task, model=get_model("cnn2l"), recipe=recipe, runs=runs
    )
    settings = {"workers": size.workers, "epochs": epochs, "batch": 32, "runs": len(runs)}
    return Race(2.5, "runs/s", task, ours, ("cnn2l", size.of(6, 1), epochs), settings)


def grad_dot(size: Size) -> Race:
    task, model = mnist3(50, size.of(300, 10)), get_model("cnn2l")
    similarity = get_estimator("gradient_similarity", get_recipe("published_adam"))
    network, theta = Network.of(model), initial_theta(model, 0)

    def ours() -> float:
        start = time.perf_counter()
        similarity(network, theta, with_channels_last(task))
        return task.n_train * len(task.query_x) / (time.perf_counter() - start)

    queries = size.of(4, 1)
    timed, all_passes = (n * (1 + task.n_train) for n in (queries, len(task.query_x)))
    scaled = f"from {timed} timed backward passes to the {all_passes} of the whole double loop"
    settings = {"baseline_scaled": scaled, "checkpoints": 1}
    return Race(100, "pairs/s", task, ours, ("grad_dot", queries, 0), settings)


# --- the others ----------------------------------------------------------------------------------


def eval_chunk(name: str, size: Size) -> None:
    """One model's 900 query losses by pieces (ours) and at once, on one thread as in a worker."""
    task, model = mnist3(50, 300), get_model("cnn2l")
    network, theta = Network.of(model), initial_theta(model, 0)
    seconds = {measures.QUERY_CHUNK: [], len(task.query_x): []}
    kept, threads = measures.QUERY_CHUNK, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(size.of(20, 2)):
            for chunk, found in seconds.items():
                measures.QUERY_CHUNK = chunk
                start = time.perf_counter()
                with torch.no_grad():
                    measures.query_loss(network, theta, task)
                found.append(1000 * (time.perf_counter() - start))
    finally:
        measures.QUERY_CHUNK = kept
        torch.set_num_threads(threads)
    pieces, at_once = map(statistics.median, seconds.values())
    ranges = {f"range_{chunk}": spread(found) for chunk, found in seconds.items()}
    settings = machine() | ranges | {"chunk": kept, "threads": 1, "rounds": size.of(20, 2)}
    report(name, pieces, at_once, at_once / pieces, goal=1, unit="ms", settings=settings)


def optimiser_step(name: str, size: Size, theirs: type[torch.optim.Optimizer]) -> None:
    """Milliseconds of a step of an update rule on the stacked parameters of CNN2-L, on one thread,
    against the one of torch.optim (its own default; `fused` stands in the settings)."""
    recipe = replace(get_recipe("published_adam"), optimiser=theirs.__name__.lower())
    network = Network.of(get_model("cnn2l"))
    shape = (best_chunk(network, torch.device("cpu")), network.layout.n_parameters)
    given = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "betas": recipe.betas}
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    thetas = {who: torch.zeros(shape) for who in ("ours", "default", "fused")}
    own = new_optimiser(recipe, thetas["ours"])
    steps: dict[str, Callable[[], object]] = {"ours": lambda: own(thetas["ours"], gradient, 0.0)}
    for who, more in (("default", {}), ("fused", {"fused": True})):
        thetas[who].grad = gradient
        steps[who] = theirs([thetas[who]], eps=recipe.eps, **given, **more).step
    milliseconds = {who: [] for who in steps}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(size.of(50, 2)):
            for who, step in steps.items():
                start = time.perf_counter()
                step()
                milliseconds[who].append(1000 * (time.perf_counter() - start))
    finally:
        torch.set_num_threads(threads)
    for theta in thetas.values():
        torch.testing.assert_close(theta, thetas["ours"])
    ours, default, fused = (statistics.median(milliseconds[who]) for who in steps)
    settings = machine() | {"runs": shape[0], "parameters": shape[1], "threads": 1}
    settings |= {"fused": float(f"{fused:.4g}"), "ratio_to_fused": float(f"{fused / ours:.4g}")}
    settings |= {f"range_{who}": spread(found) for who, found in milliseconds.items()}
    report(name, ours, default, default / ours, goal=1, unit="ms", settings=settings)


def peak_memory(name: str, size: Size) -> None:
    """Of memory.py, a process of its own, so that earlier benchmarks do not count."""
    command = [sys.executable, str(MEMORY), *["--quick"] * size.quick]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    settings = machine() | json.loads(done.stdout.splitlines()[-1])
    peak = settings.pop("peak") / 2**30
    report(name, peak, None, 4 / peak, goal=4, unit="GiB", settings=settings)


def cnn2l_limit(name: str, size: Size) -> None:
    """Share of a CNN2-L step that its matrix products would take at the core's best rate; what
    the step is made of stands in the settings (limit.py)."""
    command = [sys.executable, str(LIMIT), *["--quick"] * size.quick]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    settings = machine() | json.loads(done.stdout.splitlines()[-1])
    ours, least = settings["step_ms"], settings["products_at_peak_ms"]
    report(name, ours, least, least / ours, goal=None, unit="ms", settings=settings)


def estimate(name: str, size: Size) -> None:
    """Seconds a bank takes (ours) against its estimate (baseline); a good ratio is 0.5 to 2."""
    task = mnist3(10, 100)
    runs = paired(leave_one_out(task.n_train), seed_pairs(size.of(3, 1)))
    recipe = get_recipe("published_adam")
    bank = RunBank(task, get_model("cnn2l"), recipe, runs, workers=size.workers)
    expected = bank.estimate().seconds
    start = time.perf_counter()
    bank.fill()
    took = time.perf_counter() - start
    settings = machine() | {"runs": len(runs), "workers": size.workers}
    report(name, took, expected, took / expected, goal=1, unit="s", settings=settings)


RACES = {"mlp_runs_per_second": mlp, "cnn2l_runs_per_second": cnn2l, "grad_dot": grad_dot}
BENCHMARKS = {name: partial(run_race, build=build) for name, build in RACES.items()}
BENCHMARKS |= {
    "eval_chunk": eval_chunk,
    "adam_step": partial(optimiser_step, theirs=torch.optim.Adam),
    "adamw_step": partial(optimiser_step, theirs=torch.optim.AdamW),
    "cnn2l_limit": cnn2l_limit,
    "peak_memory_paper_bank": peak_memory,
    "estimate": estimate,
}


def profile(name: str) -> None:
    """A table of the costliest operations of ours, quick size, all in this process."""
    ours = RACES[name](Size(quick=True, workers=1)).ours
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        ours()
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}")
    options.add_argument("--quick", action="store_true", help="only show that all runs")
    options.add_argument("--profile", choices=RACES, help="print where the time of ours goes")
    args = options.parse_args()
    if wrong := [name for name in args.names if name not in BENCHMARKS]:
        options.error(unknown("benchmark", wrong[0], BENCHMARKS))
    if args.profile:
        return profile(args.profile)
    for name in args.names or BENCHMARKS:
        BENCHMARKS[name](name, size=Size(args.quick))


if __name__ == "__main__":
    main()
