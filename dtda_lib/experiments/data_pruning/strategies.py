"""Data pruning: which training points are removed, by whose scores, and the runs that judge it.

Every score is a predicted *shift upon removal* of the mean validation loss, so the most negative
points are the ones whose removal is predicted to help most; they go first. The measurement m is
that mean, one number per run, and its law is over seeds.

Queries are split: *validation* points steer the pruning, *test* points judge it. Seeds are split,
too: evaluation seeds are retrained; scores come either from the full-data models of these very
seeds (`same`, as in arXiv 2506.12965, Fig. 6) or from models of other seeds (`other`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import measure, query_outputs
from dtda_lib.runs.protocols import Runs, SeedPair
from dtda_lib.runs.removal import Design
from dtda_lib.statistics.distributions import shifted_samples
from dtda_lib.statistics.over_seeds import require_seeds

ESTIMATOR = "if_damped_0.1"  # prunes; chosen before any retraining
OTHER_ESTIMATOR = "grad_dot"
BASELINE = "own_loss"
ALSO = ("grad_cos", "trak")
"""Methods that are scored besides, on small data."""
NONE, RANDOM, TRUTH = "none", "random", "truth"
SAME, OTHER = "same", "other"  # whose scores: the evaluation seeds' own models, or others
RANKINGS = ("own", "mean", "risk")
REST = "rest_mean"
BY_LOSS, BY_GRAD_DOT = "other_mean_loss", "other_mean_grad_dot"


@measure(dims=("query",), unit="1 where the largest output is the true class, else 0")
def query_correct(network: Network, theta: Tensor, task: Task) -> Tensor:
    """Whether each query is classified correctly `(query,)`; the mean is the accuracy."""
    right = query_outputs(network, theta, task).argmax(dim=1) == task.query_y
    return right.to(theta.dtype)


# ---------------------------------------------------------------- tasks


def with_label_noise(
    task: Task, percent: int, generator: np.random.Generator
) -> tuple[Task, np.ndarray]:
    """The task with `percent` % of its training labels wrong, and the positions of these.

    Points are drawn at random, and each gets one of the other classes that occur, all equally
    likely. Queries keep their labels.

    Raises:
        ValueError: no label would change, or there is only one class.
    """
    n_wrong = round(task.n_train * percent / 100)
    classes = task.train_y.unique().numpy()
    if n_wrong < 1 or len(classes) < 2:
        raise ValueError(
            f"task {task.name!r}: {percent} % of {task.n_train} labels of {len(classes)} class(es) "
            "cannot be made wrong; take more points or classes."
        )
    wrong = np.sort(generator.choice(task.n_train, n_wrong, replace=False))
    labels = task.train_y.clone()
    for position in wrong:
        others = classes[classes != int(labels[position])]
        labels[position] = int(generator.choice(others))
    return replace(task, name=f"{task.name}-noise{percent}", train_y=labels), wrong


def steering_queries(task: Task, per_class: int) -> np.ndarray:
    """Which queries steer `(query,)`: the first `per_class` of each class; the others judge.

    Raises:
        ValueError: a class has no query left to judge.
    """
    steers = np.zeros(task.n_query, dtype=bool)
    for label in task.query_y.unique().tolist():
        positions = np.flatnonzero(task.query_y.numpy() == label)
        if not 1 <= per_class < len(positions):
            raise ValueError(
                f"task {task.name!r}: {per_class} validation points out of {len(positions)} "
                f"queries of class {label} leave none to judge; take 1 to {len(positions) - 1}."
            )
        steers[positions[:per_class]] = True
    return steers


def only_queries(task: Task, chosen: np.ndarray) -> Task:
    """The task with only these queries (a mask `(query,)`)."""
    mask = torch.from_numpy(chosen)
    ids = tuple(int(i) for i in np.asarray(task.query_id)[chosen])
    return replace(task, query_x=task.query_x[mask], query_y=task.query_y[mask], query_id=ids)


# ---------------------------------------------------------------- scores


@dataclass(frozen=True)
class PruningScores:
    """Of full-data models: `shift` `(seed, estimator, train)`, `base` `(seed,)`.

    `shift` is what each model says of each training point, a shift upon removal of the mean
    validation loss (see `mean_query`); `base` is that loss, in nats.
    """

    shift: xr.DataArray
    base: xr.DataArray

    def seeds(self, start: int, stop: int) -> "PruningScores":
        """The scores of some of the models, seeds numbered anew."""
        labels = {"seed": np.arange(stop - start)}
        parts = (
            a.isel(seed=slice(start, stop)).assign_coords(labels) for a in (self.shift, self.base)
        )
        return PruningScores(*parts)

    def ranked(self, ranking: str, estimator: str = ESTIMATOR) -> xr.DataArray:
        """Scores by which points are ranked: `(seed, train)` for "own", else `(train,)`.

        "own" is each model's own prediction, "mean" its mean over models, "risk" the predicted
        shift of mean plus standard deviation over seeds.
        """
        shift = self.shift.sel(estimator=estimator, drop=True)
        if ranking == "own":
            return shift
        return shift.mean("seed") if ranking == "mean" else risk_averse(self.base, shift)


def risk_averse(base: xr.DataArray, shift: xr.DataArray) -> xr.DataArray:
    """Predicted shift upon removal of E[m] + sd[m], the law of m being over seeds, `(train,)`.

    The predicted law is that of Algorithm 1 of arXiv 2506.12965: each run's m moved by its own
    shift. Standard deviations and not variances are added, so that both terms are in nats.

    Args:
        base: m of the full-data models `(seed,)`.
        shift: What each predicts `(seed, train)`.
    """
    law = shifted_samples(base, shift).rename(removal="train").drop_vars(["train", "point"])
    spread = law.std("seed", ddof=1) - require_seeds(base).std("seed", ddof=1)
    return law.mean("seed") - base.mean("seed") + spread


# ---------------------------------------------------------------- lists


def worst(scores: xr.DataArray, k: int) -> np.ndarray:
    """Positions of the k most negative scores along `train`, lowest first, `(..., k)`."""
    values = scores.transpose(..., "train").values
    return np.argsort(values, axis=-1, kind="stable")[..., :k]


def strategy_names(n_random: int, planted: bool) -> list[str]:
    """Names of the strategies of `removal_lists`, in its order."""
    drawn = [f"{RANDOM}_{draw}" for draw in range(1, n_random + 1)]
    by_scores = [f"{whose}_{ranking}" for whose in (SAME, OTHER) for ranking in RANKINGS]
    return [NONE, *drawn, *by_scores, REST, BY_LOSS, BY_GRAD_DOT, *([TRUTH] if planted else [])]


def removal_lists(
    same: PruningScores,
    other: PruningScores,
    k: int,
    n_random: int,
    generator: np.random.Generator,
    wrong: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Training positions that each strategy removes for each evaluation seed, `(seed, k)`.

    "none" `(seed, 0)`; "random_1", ... drawn anew for each seed; "same_own", "same_mean",
    "same_risk" by scores of the evaluation seeds' models and "other_..." by those of other seeds
    ("other_own": evaluation seed s takes the list of scoring seed s alone); "rest_mean" by the mean
    over all evaluation seeds but the one that is retrained; two more by the mean scores of other
    seeds, `BY_LOSS` and `BY_GRAD_DOT`; and "truth", the points whose labels are known to be wrong,
    where there are any.

    Raises:
        ValueError: the two sets of seeds differ in number.
    """
    n_seeds, n_train = same.shift.sizes["seed"], same.shift.sizes["train"]
    if other.shift.sizes["seed"] != n_seeds:
        raise ValueError(
            f"{other.shift.sizes['seed']} scoring seeds cannot give each of {n_seeds} evaluation "
            "seeds a list of its own; take as many."
        )
    lists: dict[str, np.ndarray] = {NONE: np.empty((n_seeds, 0), dtype=int)}
    for draw in range(1, n_random + 1):
        rows = [generator.choice(n_train, k, replace=False) for _ in range(n_seeds)]
        lists[f"{RANDOM}_{draw}"] = np.array(rows)
    for whose, scores in ((SAME, same), (OTHER, other)):
        for ranking in RANKINGS:
            found = worst(scores.ranked(ranking), k)
            lists[f"{whose}_{ranking}"] = np.broadcast_to(found, (n_seeds, k))
    own = same.ranked("own")
    rest = (n_seeds * own.mean("seed") - own) / (n_seeds - 1)  # (seed, train), row s without s
    lists[REST] = worst(rest.transpose("seed", "train"), k)
    for name, estimator in ((BY_LOSS, BASELINE), (BY_GRAD_DOT, OTHER_ESTIMATOR)):
        found = worst(other.ranked("mean", estimator), k)
        lists[name] = np.broadcast_to(found, (n_seeds, k))
    if wrong is not None:
        lists[TRUTH] = np.broadcast_to(wrong, (n_seeds, len(wrong)))
    return lists


# ---------------------------------------------------------------- retraining


def retraining_runs(
    lists: Mapping[str, np.ndarray], seeds: Sequence[SeedPair], n_train: int
) -> Runs:
    """One run per evaluation seed and strategy: the seed's two seeds, its list at weight 0.

    A seed has lists of its own, so the runs are no grid of seeds and removals: they lie in one row
    of removals "<strategy>/<seed>", seeds outermost, with the seeds of each.
    """
    labels, rows, drawn = [], [], []
    for s, pair in enumerate(seeds):
        for name, chosen in lists.items():
            weight = torch.ones(n_train)
            weight[torch.from_numpy(chosen[s].copy())] = 0
            labels.append(f"{name}/{s}")
            rows.append(weight)
            drawn.append(pair)
    table = np.array(drawn, dtype=np.int64)  # (run, 2)
    design = Design(torch.stack(rows), tuple(labels))
    return Runs(design, table[None, :, 0], table[None, :, 1])
