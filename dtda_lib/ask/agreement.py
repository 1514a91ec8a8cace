"""What removals do to laws, beyond the mean, and how well scores predict it.

Both read the laws and scores of `arrays`, from a bank or from elsewhere. A *change* is one of
`statistics.distances.DELTAS` between the law with and the law without a removal; of a mean, it is
the mean shift.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.names import listing
from dtda_lib.statistics.agreement import halves_of, noise_ceiling, spearman_brown
from dtda_lib.statistics.agreement_on_halves import unit_rows
from dtda_lib.statistics.distances import Distance, get_distance
from dtda_lib.statistics.distributions import distance
from dtda_lib.statistics.over_seeds import require_seeds
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.statistics.significance import benjamini_hochberg

from .answer import tested_over
from .arrays import SIGNS, as_scores, axis_of_removals, require_laws, upon_removal

_KINDS = ("pearson", "spearman")
_OVER = ("all pairs", "within queries")
_GROUPS = {"seed": 1_000, "score_seed": 1_000, "train": 10, "removal": 10, "query": 10}
_FEWEST = 4  # points or removals: two cells are left without any one, and a correlation of two is 1

# ---------------------------------------------------------------- changes of laws


def law_changes(
    laws: xr.Dataset,
    kinds: Sequence[str | Distance] = ("mean", "log_variance_ratio", "w2", "w2_gaussian"),
    *,
    q: float = 0.05,
    family: str = "all",
    n_permutations: int = 4_999,
    generator: np.random.Generator | None = None,
) -> xr.Dataset:
    """How far each removal moves the law of each query, and whether that is noise.

    Laws are compared seed by seed (`distance(..., paired=True)`), by swapping the two runs of a
    seed. Between paired laws whose runs move less than neighbouring seeds lie apart "w2" has p
    near 1, whatever happens; "w2_gaussian" sees it.

    Args:
        laws: From `as_laws`.
        kinds: Names in `statistics.distances.DELTAS`: "w2" between the samples, "variance", ...
        q, family: As for `reliable`, for each kind by itself.
        n_permutations: Relabellings; p-values are no smaller than 1 / (1 + n_permutations), so
            that a single change among m pairs shows at m / q of them or more. All distinct ones
            are taken where there are no more.
        generator: Draws the relabellings; None: always the same draws.

    Returns:
        `(delta, train or removal, query)`: `estimate`, in the unit of the values to the power of
        the kind; its jackknife interval `low`, `high` at 95 % for the mean, the variance and its
        log ratio; `null_high`, the 95 % point of |estimate| if nothing changed; `p`;
        Benjamini-Hochberg `q_value`; `changed` = q_value <= q. Signed kinds are after - before.

    Raises:
        ValueError: not the laws of `as_laws`, an unknown kind or family, or q outside 0..1.
    """
    axis = require_laws(laws)
    over = [axis if dim == "train" else dim for dim in tested_over(family)]
    found = {}
    for kind in kinds:
        draws = np.random.default_rng(0) if generator is None else generator
        one = distance(
            laws["base"],
            laws["removed"],
            kind,
            paired=True,
            n_permutations=n_permutations,
            generator=draws,
        )
        corrected = benjamini_hochberg(one["p"], q, over=over)
        one = one[["estimate", "low", "high", "null_high", "p"]].transpose(axis, "query")
        found[get_distance(kind).name] = one.assign(
            q_value=corrected["adjusted"], changed=corrected["discovery"]
        )
    every = xr.concat(list(found.values()), xr.DataArray(list(found), dims="delta", name="delta"))
    told = {"seeds": laws.sizes["seed"], "q": q, "family": family}
    return every.drop_attrs().assign_attrs(laws.attrs | told)


# ---------------------------------------------------------------- agreement


def agreement(
    scores: xr.DataArray,
    truth: xr.Dataset | xr.DataArray,
    *,
    of: str | Distance = "mean",
    base: xr.DataArray | None = None,
    same_seeds: bool | None = None,
    level: float = 0.95,
    n_splits: int = 24,
    generator: np.random.Generator | None = None,
) -> xr.Dataset:
    """Do scores predict what retraining shows, how surely, and how well could any score?

    Scores and retrained changes are correlated over all pairs of a removal and a query, and over
    the removals of each query, averaged over queries. Where removals are groups, the score of a
    group is the sum of its members', and "spearman" "within queries" is the linear datamodelling
    score, LDS: of means, or with `of` another kind of change, of laws.

    Args:
        scores: `(seed, train, query)` or `(train, query)`, from `as_scores` or `scores`. Points
            and queries that `truth` lacks are left out; those of `truth` must all be there.
        truth: Laws from `as_laws`, or shifts `(seed, train, query)`.
        of: A kind of change in `statistics.distances.DELTAS`. Other kinds than "mean" ask for laws
            and for scores that are shifts in their unit: every model's measurements are moved by
            its own scores (Algorithm 1 of arXiv 2506.12965), and these predicted laws come from
            other seeds than the true ones. If the scores were taken at the very models of `truth`,
            every other seed predicts and the others judge.
        base: `(seed, query)`, measured on the models that gave the scores, for other kinds than
            "mean" where these are not those of `truth`.
        same_seeds: Whether seed s of the scores is the model of seed s of `truth`. None: by their
            labels; it must be said where one of both has none. Then both share noise, and r may
            exceed the ceiling.
        level: Of the intervals.
        n_splits: Random halves of the seeds for reliabilities, where there are more.
        generator: Draws the halves; None: always the same draws.

    Returns:
        By `kind` ("pearson", "spearman") and `over` ("all pairs", "within queries"): `r`; `low`,
        `high`, its interval over seeds of both, points (or removals) and queries; `ceiling`, the
        largest r to expect given the noise of both, and its two parts `truth_reliability` and
        `score_reliability` (1 for scores without randomness, NaN with fewer than four seeds, two
        halves of which have no correlation worth the name). By `kind` and `query`:
        `r_of_query` and `ceiling_of_query`, NaN where one side is the same for all points.

    Raises:
        ValueError: scores or truth of another kind; points, queries or seeds without their
            counterpart; fewer than four points or removals; scores that are all equal; a kind of
            change that these scores do not predict.
    """
    chosen = get_distance(of)
    pair = _pair(scores, truth, chosen, base, same_seeds)
    draws = np.random.default_rng(0) if generator is None else generator
    groups = {dim: most for dim, most in _GROUPS.items() if pair.data.sizes.get(dim, 1) > 1}
    found = over_sets(pair.data, pair.correlations, level=level, groups=groups)
    found = found.drop_vars("df").rename(estimate="r")
    for end in ("low", "high"):
        found[end] = found[end].clip(-1, 1)
    by_query = {"r_of_query": _correlated(pair.truth(pair.data), pair.score(pair.data))[1]}
    parts = {}
    for name in ("truth", "score"):
        parts[name] = pair.reliability(name, n_splits, draws.spawn(1)[0])
        found[f"{name}_reliability"] = _both(*parts[name])
    pooled, by_query["ceiling_of_query"] = (noise_ceiling(*both) for both in zip(*parts.values()))
    found["ceiling"] = _both(pooled, by_query["ceiling_of_query"])
    found = found.assign({name: (("kind", "query"), one) for name, one in by_query.items()})
    found = found.assign_coords(query=pair.data["query"].values)
    return found.drop_attrs().assign_attrs(pair.facts())


@dataclass(frozen=True)
class _Pair:
    """Truth and scores of the same removals and queries.

    `data` holds, in float64: `before` `(seed, query)`, `after` `(seed, removal, query)`; `score`
    `(score_seed or seed or nothing, removal, query)`, and `score_before`, where laws are predicted.
    """

    data: xr.Dataset
    axis: str
    change: Distance
    same_seeds: bool

    def facts(self) -> dict[str, str | int]:
        """What was compared, and how many removals and seeds of each side."""
        sizes = self.data.sizes
        told = {
            "of": self.change.name,
            "same_seeds": int(self.same_seeds),
            self.axis: sizes[self.axis],
        }
        return told | {f"{dim}s": sizes[dim] for dim in ("seed", "score_seed") if dim in sizes}

    def truth(self, data: xr.Dataset) -> np.ndarray:
        """Retrained changes `(removal, query)`."""
        return self._change(data["before"].values, data["after"].values)

    def score(self, data: xr.Dataset) -> np.ndarray:
        """Predicted changes `(removal, query)`."""
        score = data["score"].values
        if "score_before" in data:
            before = data["score_before"].values
            return self._change(before, before[:, None] + score)
        return score if score.ndim == 2 else score.mean(axis=0)

    def _change(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        found = self.change(before[:, None], after)
        if not np.isfinite(found).all():
            raise ValueError(
                f"agreement: a law has no spread and hence no {self.change.name!r}; ask for 'mean'."
            )
        return found

    def correlations(self, data: xr.Dataset) -> xr.DataArray:
        """`(kind, over)`."""
        pooled, by_query = _correlated(self.truth(data), self.score(data))
        return _both(pooled, by_query)

    def reliability(
        self, name: str, n_splits: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of the changes of one side with all its seeds: `(kind,)` and `(kind, query)`."""
        own = {"truth": ("before", "after"), "score": ("score", "score_before")}[name]
        part = self.data[[variable for variable in own if variable in self.data]]
        seeds = next((dim for dim in ("seed", "score_seed") if dim in part.dims), None)
        if seeds is None or part.sizes[seeds] < 4:
            value = 1.0 if seeds is None else np.nan
            return np.full(len(_KINDS), value), np.full((len(_KINDS), part.sizes["query"]), value)
        change = self.truth if name == "truth" else self.score
        splits = zip(*halves_of(part.sizes[seeds], n_splits, generator))
        one, other = (
            np.stack([change(part.isel({seeds: half})) for half in halves]) for halves in splits
        )
        pooled, by_query = (found.mean(axis=0) for found in _correlated(one, other))
        return spearman_brown(pooled), spearman_brown(by_query)


def _correlated(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over all pairs `(..., kind)`, and of each query `(..., kind, query)`.

    NaN where one side is constant. Both are `(..., removal, query)`.
    """

    def each(values: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
        pooled = values.reshape(*values.shape[:-2], -1)
        return unit_rows(pooled, kind), unit_rows(np.swapaxes(values, -1, -2), kind)

    found = [
        [(a * b).sum(axis=-1).clip(-1, 1) for a, b in zip(each(one, kind), each(other, kind))]
        for kind in _KINDS
    ]
    pooled, by_query = zip(*found)
    return np.stack(pooled, axis=-1), np.stack(by_query, axis=-2)


def _both(pooled: np.ndarray, by_query: np.ndarray) -> xr.DataArray:
    """`(kind, over)` from `(kind,)` and `(kind, query)`, averaged over queries that have any."""
    known = np.isfinite(by_query)
    count = known.sum(axis=1)
    within = np.where(known, by_query, 0.0).sum(axis=1) / np.where(count > 0, count, np.nan)
    coords = {"kind": list(_KINDS), "over": list(_OVER)}
    return xr.DataArray(np.stack([pooled, within], axis=1), coords, ("kind", "over"))


# ---------------------------------------------------------------- scores beside their truth


def _pair(
    scores: xr.DataArray,
    truth: xr.Dataset | xr.DataArray,
    change: Distance,
    base: xr.DataArray | None,
    same_seeds: bool | None,
) -> _Pair:
    """Scores and truth along the same removals, queries and, where they share them, seeds."""
    laws = truth if isinstance(truth, xr.Dataset) else _laws_of_shifts(truth, change)
    axis = require_laws(laws)
    if laws.sizes[axis] < _FEWEST:
        raise ValueError(
            f"agreement: {laws.sizes[axis]} removals are too few to correlate over; take "
            f"{_FEWEST} or more."
        )
    scores = as_scores(scores)
    score = _of_removals(scores, laws, axis)
    if (score == score.values.flat[0]).all():
        raise ValueError("agreement: the scores are all equal, so that nothing correlates.")
    same = "seed" in score.dims and _share_seeds(score, laws, same_seeds)
    if same:
        score = _in_order(score, laws["base"], "scores")
    parts = {"before": laws["base"], "after": laws["removed"], "score": score}
    if change.name != "mean":
        parts |= _predicted(laws, score, scores.attrs["unit"], base, same, change)
        same = False
    if not same:
        own = [name for name in parts if name.startswith("score") and "seed" in parts[name].dims]
        parts |= {name: parts[name].rename(seed="score_seed") for name in own}
    bare = ["seed", "score_seed"]  # what belongs together is in one order now
    order = ("seed", "score_seed", axis, "query")
    data = {
        name: part.drop_vars(bare, errors="ignore").transpose(*order, missing_dims="ignore")
        for name, part in parts.items()
    }
    return _Pair(require_seeds(xr.Dataset(data)), axis, change, same)


def _laws_of_shifts(shift: xr.DataArray, change: Distance) -> xr.Dataset:
    """Laws with these shifts upon removal, and 0 without a removal: enough for means."""
    if change.name != "mean":
        raise ValueError(
            f"agreement: {change.name!r} is a change between laws, of which shifts alone say "
            "nothing; give the laws, from as_laws(base, removed)."
        )
    shift = upon_removal(shift)
    axis = axis_of_removals(shift)
    if set(shift.dims) != {"seed", "train", "query"}:
        raise ValueError(
            f"agreement: shifts have the axes seed, train and query, not {list(shift.dims)}; give "
            "groups as laws, from as_laws(base, removed, left_out=...)."
        )
    labels = {dim: shift[dim].values for dim in (axis, "query")}
    shift = shift.transpose("seed", axis, "query").assign_coords(labels)
    return xr.Dataset({"base": xr.zeros_like(shift.isel({axis: 0}, drop=True)), "removed": shift})


def _of_removals(scores: xr.DataArray, laws: xr.Dataset, axis: str) -> xr.DataArray:
    """Scores of these removals and queries in float64, as shifts upon removal; summed by group."""
    members = laws["left_out"] if axis == "removal" else None
    if members is not None:
        members = members.isel(train=members.any("removal").values)
    wanted = {"train": (laws if members is None else members)["train"], "query": laws["query"]}
    for dim, labels in wanted.items():
        if lacking := [one for one in labels.values.tolist() if one not in scores.indexes[dim]]:
            raise ValueError(
                f"agreement: the scores lack {dim} {listing(lacking)}, which was retrained; label "
                "both by the same names, or score those as well."
            )
    chosen = scores.sel({dim: labels.values for dim, labels in wanted.items()})
    sign = SIGNS[scores.attrs["sign"]]
    if members is None:
        return sign * chosen.astype(np.float64)
    members = sign * members.astype(np.float64)
    if "seed" not in chosen.dims:
        return xr.dot(members, chosen.astype(np.float64), dim="train")
    # Seed by seed, so that scores of all points are never copied at once.
    each = (chosen.isel(seed=[at]).astype(np.float64) for at in range(chosen.sizes["seed"]))
    return xr.concat([xr.dot(members, one, dim="train") for one in each], "seed")


def _share_seeds(score: xr.DataArray, laws: xr.Dataset, said: bool | None) -> bool:
    """Whether scores and laws are of the same models, by their labels or as said."""
    indexes = [one.indexes.get("seed") for one in (score, laws)]
    # Labels 0, 1, 2, ... are what any counting gives, and say nothing.
    if any(index is None or index.equals(_counted(index)) for index in indexes):
        if said is None:
            raise ValueError(
                "agreement: the seeds have no labels that tell runs apart; say same_seeds=True if "
                "seed s of the scores is the model of seed s of the retraining, else False."
            )
        if said and score.sizes["seed"] != laws.sizes["seed"]:
            raise ValueError(
                f"agreement: {score.sizes['seed']} and {laws.sizes['seed']} seeds are not the "
                "same; say same_seeds=False, or take the same ones of both."
            )
        return said
    ours, theirs = indexes
    shared = ours.intersection(theirs)
    found = len(shared) > 0
    if found and not len(shared) == len(ours) == len(theirs):
        raise ValueError(
            f"agreement: scores and retraining share the seeds {listing(shared.tolist())} but not "
            "all; take the same seeds of both, or none that both have."
        )
    if said is not None and said != found:
        raise ValueError(
            f"agreement: same_seeds = {said}, but by their labels the seeds are "
            f"{'the same' if found else 'others'}; correct what is wrong."
        )
    return found


def _counted(index: pd.Index) -> pd.Index:
    return pd.RangeIndex(len(index))


def _in_order(array: xr.DataArray, as_in: xr.DataArray, what: str) -> xr.DataArray:
    """`array` with its seeds in the order of `as_in`, by label where both have them."""
    if "seed" not in array.indexes or "seed" not in as_in.indexes:
        if array.sizes["seed"] != as_in.sizes["seed"]:
            raise ValueError(
                f"agreement: {array.sizes['seed']} seeds of the {what} do not pair with "
                f"{as_in.sizes['seed']}."
            )
        return array
    ours, theirs = array.indexes["seed"], as_in.indexes["seed"]
    if only := ours.symmetric_difference(theirs).tolist():
        raise ValueError(f"agreement: the seeds of the {what} do not pair: {listing(only)}.")
    return array.sel(seed=theirs)


def _predicted(
    laws: xr.Dataset,
    score: xr.DataArray,
    unit: str,
    base: xr.DataArray | None,
    same: bool,
    change: Distance,
) -> dict[str, xr.DataArray]:
    """What a change of laws is predicted from, and what it is judged by: disjoint seeds."""
    if "seed" not in score.dims:
        raise ValueError(
            f"agreement: a score without seeds moves all runs alike and predicts no {change.name!r}"
            "; give scores of several models, or ask for 'mean'."
        )
    if unit != laws.attrs["unit"]:
        raise ValueError(
            f"agreement: {change.name!r} adds scores to measurements, but their units are "
            f"{unit!r} and {laws.attrs['unit']!r}; state one unit in as_scores and as_laws, if "
            "they are shifts in it."
        )
    if same:
        predict, judge = slice(1, None, 2), slice(0, None, 2)
        return {
            "before": laws["base"].isel(seed=judge),
            "after": laws["removed"].isel(seed=judge),
            "score": score.isel(seed=predict),
            "score_before": laws["base"].isel(seed=predict),
        }
    if base is None:
        raise ValueError(
            f"agreement: {change.name!r} is predicted from what the models that gave the scores "
            "measure; give it as base, (seed, query)."
        )
    if not isinstance(base, xr.DataArray):
        base = xr.DataArray(base, {"query": laws["query"].values}, ("seed", "query"))
    return {"score_before": _in_order(base.sel(query=laws["query"].values), score, "base")}
