"""Retraining in stages: seeds go where they decide, and the answer is valid whenever it ends.

`decide_pairs` takes any of the three doors: a bank of networks, a bank of a trainer of one's own,
or shifts that are there already. What is tested, and what it is worth: `statistics/sequential.py`.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.names import Shown
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import Runs
from dtda_lib.runs.trainer_bank import TrainerBank
from dtda_lib.statistics import sequential
from dtda_lib.statistics.sequential import DECISIONS, Decided

from .arrays import axis_of_removals, upon_removal, warn_of_losses
from .question import shifts

Doors = RunBank | TrainerBank | xr.Dataset | xr.DataArray


@dataclass(frozen=True, repr=False)
class Decisions(Shown):
    """What is decided of each pair of a training point and a query, and what that took.

    Args:
        pairs: `(train, query)`, or `(removal, query)` of groups: `decision` (words), `mean`, `low`,
            `high` (valid at all looks at once, for one pair), `p` (of mean shift 0, sequential) and
            `more` (about how many further seeds will decide it; 0 if it is decided); `seeds`
            `(train,)`, after which the point was last looked at.
        runs: Trainings that this rests on, those of the full data included.
        of: Trainings of all seeds with and without every point: the fixed design.
        variance_ratio: Mean variance over seeds with the control to that without; NaN without one.
    """

    pairs: xr.Dataset
    runs: int
    of: int
    variance_ratio: float

    @property
    def undecided(self) -> list[object]:
        """Points (or groups), by label, with a pair that needs more seeds."""
        is_open = (self.pairs["decision"] == DECISIONS[0]).any("query")
        return self.pairs[axis_of_removals(self.pairs)].values[is_open.values].tolist()

    def count(self) -> dict[str, int]:
        """Pairs by decision."""
        found = Counter(self.pairs["decision"].values.ravel().tolist())
        return {name: found[name] for name in DECISIONS}

    def table(self) -> pd.DataFrame:
        """A row for each pair: point, query, decision, mean, low, high, seeds and more."""
        point = axis_of_removals(self.pairs)
        rows = self.pairs.to_dataframe().reset_index().rename(columns={point: "point"})
        columns = ["point", "query", "decision", "mean", "low", "high", "seeds", "more"]
        return rows[columns]

    def _facts(self) -> dict[str, object]:
        facts: dict[str, object] = {name.replace(" ", "_"): n for name, n in self.count().items()}
        facts["delta"] = self.pairs.attrs["delta"]
        facts["runs"] = f"{self.runs} of {self.of}"
        return facts


def decide_pairs(
    source: Doors,
    delta: float,
    *,
    q: float = 0.05,
    miss: float = 0.2,
    looks: Sequence[int] | None = None,
    predictions: xr.DataArray | None = None,
    control: bool = False,
    budget: int | None = None,
    train: bool = True,
) -> Decisions:
    """Which pairs help, harm or have no effect beyond delta; trains only what is undecided.

    All points are trained with a few seeds; those with an undecided pair go on, until every pair is
    decided or the seeds of the bank are used up. Runs of the full data are shared. A line on stderr
    after each stage says how many points are decided. The answer is the same whatever was cached.

    >>> import numpy as np
    >>> import dtda_lib as dt
    >>> rng = np.random.default_rng(0)
    >>> base = 1 + rng.normal(size=(16, 2))  # losses of 16 seeds on 2 queries
    >>> removed = base[:, None] + 0.1 * rng.normal(size=(16, 40, 2))
    >>> removed[:, 3] += 0.5  # point 3 helps: without it, both losses rise
    >>> found = dt.decide_pairs(dt.as_laws(base, removed), delta=0.3)
    >>> found.table().query("decision == 'helps'")["point"].tolist()
    [3, 3]

    Args:
        source: A bank of `retraining_bank` or `trainer_bank`, whose seeds are the most that any
            point gets; laws from `as_laws`; or shifts `(seed, train, query)`, NaN where a point has
            not been trained with that seed yet.
        delta: Smallest shift that matters, above 0, in the unit of the shifts.
        q: Share of false ones among pairs called "helps" or "harms"; of mean shift 0 or wrong sign.
        miss: Of pairs with a shift of delta or more, the share that may be called "no effect beyond
            delta": the power that is given up for fewer retrainings.
        looks: Numbers of seeds after which pairs are tested; None: 4, 6, 8, 12, 16, 24 and so on,
            and all.
        predictions: `(seed, train, query)` of an estimator, from `scores`: points of large
            predicted shift come first, which counts where there is a `budget`.
        control: Take the predictions as control variates as well: of the same seeds as the source,
            and as many again or more (`estimator_bank(..., 2 * n_seeds, stream="first")`).
        budget: Trainings that the answer may rest on, cached ones included; None: no limit.
        train: False: only what is cached, as after an interruption.

    Raises:
        ValueError: see `statistics.sequential`; predictions of other points or too few seeds; a
            bank that is none of both, or drops seeds.

    An interruption loses the runs under way, as that of any bank; `train=False` then gives the
    answer so far. A stage of a `RunBank` is found again if the same points take part in it.
    """
    if isinstance(source, RunBank | TrainerBank):
        points, point = _points_of(source)
        most = source.runs.n_seeds
    else:
        given = _shifts_of(source)
        point = axis_of_removals(given)
        points, most = given[point].values, given.sizes["seed"]
    looks = sequential.looks_up_to(most) if looks is None else tuple(looks)
    settings = {"delta": delta, "looks": looks, "q": q, "miss": miss}
    sequential.spending(looks, miss)  # refuses looks before anything is trained
    if looks[-1] > most:
        raise ValueError(f"decide_pairs: looks {looks} exceed the {most} seeds of the source.")
    predicted = None if predictions is None else _predicted(predictions, point, points)
    if control and predicted is None:
        raise ValueError(
            "decide_pairs: control=True takes predictions=, the scores of an estimator."
        )
    zero = sequential.mean_zero(predicted, most) if control else None
    if isinstance(source, RunBank | TrainerBank):
        order = np.arange(len(points)) if predicted is None else sequential.by_prediction(predicted)
        given = _in_stages(source, order, zero, settings, budget, train)
    values = given.values
    found = sequential.decisions(values, control=zero, **settings)
    if isinstance(source, RunBank | TrainerBank):
        _tell(source, found)
    trained = np.isfinite(values).all(axis=2)  # (seed, point)
    return Decisions(
        pairs=_labelled(found, given, point, points, settings),
        runs=int(trained.sum() + trained.any(axis=1).sum()),
        of=looks[-1] * (1 + len(points)),
        variance_ratio=np.nan if zero is None else _variance_ratio(found, values, zero),
    )


# ---------------------------------------------------------------- what was given


def _points_of(bank: RunBank | TrainerBank) -> tuple[np.ndarray, str]:
    """Labels of the removals of a bank, and the name of their axis."""
    if type(bank) not in (RunBank, TrainerBank):
        raise ValueError(
            f"decide_pairs: a {type(bank).__name__} cannot be trained in stages; give a bank of "
            "retraining_bank or trainer_bank."
        )
    if bank.drop_diverged:
        raise ValueError(
            "decide_pairs: a seed that diverges later would leave laws that are decided already; "
            "pass drop_diverged=False and lower the learning rate, or fill the bank and give its "
            "shifts."
        )
    design = bank.runs.design
    if len(design) < 2:
        raise ValueError("decide_pairs: the bank leaves nothing out; give it points.")
    single = min(design.points[1:]) >= 0
    return np.array(design.points[1:] if single else design.labels[1:]), (
        "train" if single else "removal"
    )


def _shifts_of(source: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Shifts `(seed, train or removal, query)` with labels, of what is no bank."""
    shift = upon_removal(shifts(source) if isinstance(source, xr.Dataset) else source)
    point = axis_of_removals(shift)
    if set(shift.dims) != {"seed", point, "query"}:
        raise ValueError(
            f"decide_pairs: shifts have the axes seed, train (or removal) and query, not "
            f"{', '.join(map(str, shift.dims))}; rename them."
        )
    warn_of_losses(shift)
    shift = shift.transpose("seed", point, "query")
    return shift.assign_coords({d: shift[d].values for d in (point, "query")})


def _predicted(predictions: xr.DataArray, point: str, points: np.ndarray) -> np.ndarray:
    """Predictions `(seed, point, query)` of these points, in their order."""
    wanted = {"seed", point, "query"}
    if not isinstance(predictions, xr.DataArray) or set(predictions.dims) != wanted:
        raise ValueError(
            f"decide_pairs: predictions have the axes seed, {point} and query, as `scores`."
        )
    labels = predictions[point].values.tolist()
    if missing := [p for p in points.tolist() if p not in labels]:
        raise ValueError(
            f"decide_pairs: predictions have no {point} {missing[0]!r}; give all points."
        )
    rows = [labels.index(p) for p in points.tolist()]
    values = predictions.transpose("seed", point, "query").values[:, rows]
    if not np.isfinite(values).all():
        raise ValueError("decide_pairs: predictions are not finite; leave such models out of both.")
    return values.astype(np.float64)


# ---------------------------------------------------------------- stages


def _in_stages(
    bank: RunBank | TrainerBank,
    order: np.ndarray,
    control: np.ndarray | None,
    settings: dict,
    budget: int | None,
    train: bool,
) -> xr.DataArray:
    """Shifts `(seed, point, query)`, NaN where nothing had to be trained."""
    n_points, looks = len(bank.runs.design) - 1, settings["looks"]
    shift, spent, before = None, 0, 0
    for n in looks:
        rows = order
        if shift is not None:
            found = sequential.decisions(shift.values, control=control, **settings)
            is_open = (found.decision == sequential.IS_OPEN).any(axis=1)
            # A point that had no seeds of an earlier stage, for lack of budget, is not tried later.
            rows = order[(is_open & (found.seeds == before))[order]]
            _tell(bank, found, n)
        if budget is not None:
            rows = rows[: max(0, (budget - spent) // (n - before) - 1)]
        if not len(rows):
            break
        stage = _stage(bank, rows, before, n)
        if not train and stage.missing():
            break
        part = shifts(stage).transpose("seed", ..., "query")
        if shift is None:
            sizes = (bank.runs.n_seeds, n_points, part.sizes["query"])
            query = {"query": part["query"].values}
            dims = ("seed", "point", "query")
            shift = xr.DataArray(np.full(sizes, np.nan), query, dims, attrs=part.attrs)
        shift.values[before:n, rows] = part.values
        spent, before = spent + (n - before) * (1 + len(rows)), n
    if shift is None:
        raise ValueError(
            f"decide_pairs: the first stage takes {looks[0] * (1 + n_points)} trainings, and none "
            "are there or allowed; give a larger budget, or train=True."
        )
    return shift


def _stage(
    bank: RunBank | TrainerBank, rows: np.ndarray, start: int, stop: int
) -> RunBank | TrainerBank:
    """The part of a bank with these removals (0 being the first after "none") and seeds."""
    kept = [0, *(rows + 1).tolist()]
    runs = Runs(
        bank.runs.design.select(kept),
        bank.runs.init_seeds[start:stop, kept],
        bank.runs.order_seeds[start:stop, kept],
    )
    common = {
        "title": f"{bank.title}, {stop} seeds",
        "workers": bank.workers,
        "executor": bank.executor,
    }
    if isinstance(bank, RunBank):
        return RunBank(
            bank.task,
            bank.model,
            bank.recipe,
            runs,
            bank.measures,
            device=bank.device,
            chunk=bank.chunk,
            **common,
        )
    stage = TrainerBank(
        bank.trainer,
        runs,
        of=bank.of,
        unit=bank.unit,
        better=bank.better,
        random=bank.random,
        **common,
    )
    stage.adopt(bank)
    return stage


def _tell(bank: RunBank | TrainerBank, found: Decided, following: int | None = None) -> None:
    """One line on stderr: how many points are decided, and how many seeds the others get next."""
    left = int((found.decision == sequential.IS_OPEN).any(axis=1).sum())
    pairs = ", ".join(
        f"{(found.decision == code).sum()} {DECISIONS[code]}" for code in range(1, len(DECISIONS))
    )
    on = f"; {left} go on to {following}" if left and following else ""
    points = f"{len(found.seeds) - left} of {len(found.seeds)} points decided"
    text = f"decide {bank.title}: after {found.seeds.max()} seeds {points} (pairs: {pairs}){on}"
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- answer


def _variance_ratio(found: Decided, values: np.ndarray, control: np.ndarray) -> float:
    """That of all pairs, each by the seeds that it has had."""
    each = []
    for n in np.unique(found.seeds[found.seeds > 0]):
        rows = np.flatnonzero(found.seeds == n)
        ratio = sequential.variance_ratio(values[:n, rows], control[:n, rows])
        each.append((ratio, len(rows)))
    ratios, sizes = np.array(each).T
    there = np.isfinite(ratios)
    return float(np.average(ratios[there], weights=sizes[there])) if there.any() else np.nan


def _labelled(
    found: Decided, given: xr.DataArray, point: str, points: np.ndarray, settings: dict
) -> xr.Dataset:
    pair = (point, "query")
    variables = {
        name: (pair, getattr(found, name)) for name in ("mean", "low", "high", "p", "more")
    }
    variables["decision"] = (pair, np.array(DECISIONS)[found.decision])
    variables["seeds"] = (point, found.seeds)
    coords = {point: points, "query": given["query"].values}
    return xr.Dataset(variables, coords, attrs=given.attrs | settings)
