"""Closed forms against runs that are really trained, and what can be seen with few runs.

About `testbeds.AnchoredRidge`, as `conventions` is. Measurements are predictions in target units.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import xarray as xr

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network, get_model
from dtda_lib.runs.recipes import Recipe
from dtda_lib.statistics.distances import get_distance
from dtda_lib.statistics.distributions import distance
from dtda_lib.statistics.over_seeds import mean_interval, wilson_interval
from dtda_lib.statistics.power import power
from dtda_lib.theory.testbeds import AnchoredRidge, gaussian_distances

from .exact import LEVERAGE, at_queries, shift_sds

LEVEL = 0.05  # of the tests in `delta_power_table`
TARGETS = ("the mean shift", "its own run's shift", "another run's shift")
SIMULATED = {"if": "influence", "rif": "leverage_corrected"}
"""Estimator -> its name in `AnchoredRidge.simulate`."""


# ---------------------------------------------------------------- closed forms


def z_scores(
    testbed: AnchoredRidge, n_seeds: int, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Simulated - exact value in exact standard errors, of every point and query at once.

    Means, variances and covariances of laws that are Gaussian, so errors are known: sd / sqrt(n),
    variance sqrt(2 / (n-1)), and for covariances the product-moment formula.
    """
    runs = testbed.simulate(n_seeds, generator)
    before, after = testbed.law(), testbed.without()
    base, retrained = runs["base"], runs["retrained"]
    shift = retrained - base
    laws = {
        "with all points": (base, before.mean, before.variance),
        "without a point": (retrained, after.mean, after.variance),
        "shift, same seeds": (
            shift,
            after.mean - before.mean,
            before.variance + after.variance - 2 * before.covariance(after),
        ),
    }
    for name, corrected in LEVERAGE.items():
        law = testbed.predicted(leverage=corrected)
        moved = base + runs[SIMULATED[name]].rename(train="removal")
        laws[f"predicted, {name.upper()}"] = (moved, law.mean, law.variance)
    found = {}
    for name, (sample, mean, variance) in laws.items():
        sample = sample.transpose("seed", *mean.dims)
        found[f"mean, {name}"] = (sample.mean("seed") - mean) / np.sqrt(variance / n_seeds)
        error = variance * np.sqrt(2 / (n_seeds - 1))
        found[f"variance, {name}"] = (sample.var("seed", ddof=1) - variance) / error
    shared = before.covariance(after)
    error = np.sqrt((before.variance * after.variance + shared**2) / (n_seeds - 1))
    found["covariance, with and without"] = (xr.cov(base, retrained, "seed") - shared) / error
    return {name: z.values.ravel() for name, z in found.items()}


def z_table(scores: dict[str, np.ndarray]) -> pd.DataFrame:
    """Per quantity: how many values, and their root mean square (1 expected) and largest |z|."""
    rows = [
        (name, z.size, float(np.sqrt((z**2).mean())), float(np.abs(z).max()))
        for name, z in scores.items()
    ]
    return pd.DataFrame(rows, columns=["quantity", "values", "rms z", "largest |z|"])


def network_estimators_error(testbed: AnchoredRidge, generator: np.random.Generator) -> float:
    """Largest difference between the testbed's shifts and those of the estimators for networks.

    The line of one run is written into a linear "network" and given to `influence_ggn` and
    `influence_leverage` of the prediction, as notebooks on networks do. Relative to the largest
    shift.
    """
    run = testbed.simulate(1, generator).isel(seed=0)
    intercept, slope = np.linalg.lstsq(testbed.query_x, run["base"].values)[0]
    inputs = {
        "train_x": testbed.train_x[:, 1:],
        "train_y": testbed.train_y,
        "query_x": testbed.query_x[:, 1:],
        "query_y": run["base"].values,
    }
    tensors = {name: torch.as_tensor(value) for name, value in inputs.items()}
    task = Task("anchored ridge", **tensors, loss="squared_error", n_outputs=1)
    network = Network.of(get_model("mlp", widths=(1, 1)))
    named = {"layers.1.weight": [[slope]], "layers.1.bias": [intercept]}
    theta = network.layout.flatten({k: torch.tensor(v).double() for k, v in named.items()})
    recipe = Recipe("sgd", lr=0.1, batch_size=1, epochs=1, weight_decay=testbed.strength)
    worst = 0.0
    for name, expected in (
        ("influence_ggn", run["influence"]),
        ("influence_leverage", run["leverage_corrected"]),
    ):
        estimator = get_estimator(name, recipe, of="query_prediction")
        found = estimator(network, theta, task)[0, ..., 0].numpy()  # (train, query)
        worst = max(worst, float(np.abs(found - expected.values).max() / abs(expected).max()))
    return worst


# ---------------------------------------------------------------- one run's estimate


def three_targets_table(
    testbed: AnchoredRidge, n_seeds: int, generator: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How well the estimate of *one* model predicts three different things.

    Correlation over points and queries, for each seed, of the shift that its model predicts with
    each of `TARGETS`. Returns the mean over seeds with its 95 % t interval, per estimator and
    target, and the same of the difference "the mean shift" - "its own run's shift". Seeds are
    taken as independent; the next seed is "another run".
    """
    runs = testbed.simulate(n_seeds, generator)
    own = (runs["retrained"] - runs["base"]).values.reshape(n_seeds, -1)
    exact = (testbed.without().mean - testbed.law().mean).values.ravel()
    targets = dict(zip(TARGETS, (np.tile(exact, (n_seeds, 1)), own, np.roll(own, -1, axis=0))))
    means, differences = [], []
    for name, variable in SIMULATED.items():
        guess = runs[variable].values.reshape(n_seeds, -1)
        found = {
            target: _correlation(guess, values)  # (seed,)
            for target, values in targets.items()
        }
        means += [
            (name, target, *mean_interval(values).values()) for target, values in found.items()
        ]
        gap = found[TARGETS[0]] - found[TARGETS[1]]
        differences.append((name, "law - own run", *mean_interval(gap).values()))
    columns = ["estimator", "predicts", "correlation", "low", "high"]
    return pd.DataFrame(means, columns=columns), pd.DataFrame(differences, columns=columns)


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Row by row."""
    one, other = (array - array.mean(axis=1, keepdims=True) for array in (one, other))
    return (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))


# ---------------------------------------------------------------- few runs


def _samples(
    testbed: AnchoredRidge, point: int, n_repeats: int, n: int, generator: np.random.Generator
) -> dict[str, xr.DataArray]:
    """`n_repeats` experiments of n runs at the last query, `(seed, repeat)` each.

    "before" and "paired" share their seeds, "unpaired" has others.
    """
    testbed = at_queries(testbed, [-1])
    runs = testbed.simulate(2 * n * n_repeats, generator, [[point]])
    base, retrained = (runs[name].values.reshape(2, n, n_repeats) for name in ("base", "retrained"))
    made = {"before": base[0], "again": base[1], "paired": retrained[0], "unpaired": retrained[1]}
    return {name: xr.DataArray(values, dims=("seed", "repeat")) for name, values in made.items()}


def delta_power_table(
    testbed: AnchoredRidge,
    points: dict[str, int],
    kinds: Sequence[str],
    seed_counts: Sequence[int],
    *,
    n_repeats: int,
    n_permutations: int,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """How often a Delta is found, p <= `LEVEL`, by the permutation tests of `distributions`.

    One row for each point, Delta, form (paired or not) and number of seeds, at the last query:
    `power` over `n_repeats` simulated experiments with its 95 % Wilson interval; for means also
    `formula`, the exact power of the t-test of as many differences. Variances are compared between
    centred laws, lest a shift of the mean counts as noise. Fewer than 6 paired or 4 unpaired seeds
    have too few relabellings to find anything.
    """
    rows = []
    for name, point in points.items():
        sample = _samples(testbed, point, n_repeats, max(seed_counts), generator)
        snr = _signal_to_noise(testbed, point)
        for n in seed_counts:
            before = sample["before"][:n]
            for form in ("paired", "unpaired"):
                for kind in kinds:
                    p = distance(
                        before,
                        sample[form][:n],
                        kind,
                        paired=form == "paired",
                        n_permutations=n_permutations,
                        generator=generator,
                        centred=kind == "log_variance_ratio",
                    )["p"]
                    hits = int((p <= LEVEL).sum())
                    low, high = wilson_interval(hits, n_repeats)
                    formula = power(snr[form], n, LEVEL) if kind == "mean" else np.nan
                    rows.append((name, kind, form, n, hits / n_repeats, low, high, formula))
    columns = ["point", "delta", "form", "n_seeds", "power", "low", "high", "formula"]
    return pd.DataFrame(rows, columns=columns)


def _signal_to_noise(testbed: AnchoredRidge, point: int) -> dict[str, float]:
    """Mean over standard deviation of the last query's shift, with the same seeds and others."""
    before, after = testbed.law(), testbed.without()
    shift = float(after.mean[point, -1] - before.mean[-1])
    sds = shift_sds(before, after, point, -1)
    return {form: shift / float(sd) for form, sd in zip(("paired", "unpaired"), sds)}


def seeds_table(powers: pd.DataFrame, target: float = 0.8) -> pd.DataFrame:
    """Fewest of the numbers of seeds tried that find each Delta in `target` of the experiments.

    One row per point and form, one column per Delta; "> n" where none of them does.
    """
    rows = []
    for (point, form), part in powers.groupby(["point", "form"], sort=False):
        row = {"point": point, "form": form}
        for kind, curve in part.groupby("delta", sort=False):
            enough = curve.loc[curve["power"] >= target, "n_seeds"]
            row[kind] = str(enough.min()) if len(enough) else f"> {curve['n_seeds'].max()}"
        rows.append(row)
    return pd.DataFrame(rows)


def w2_floor_table(
    testbed: AnchoredRidge,
    point: int,
    seed_counts: Sequence[int],
    *,
    n_repeats: int,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """W2 of samples against the exact W2 of the laws, at the last query, in target units.

    Root mean squares over `n_repeats` experiments: between unpaired samples of both laws
    (`sampled`), and between two samples of the law with all points (`floor`).
    """
    sample = _samples(testbed, point, n_repeats, max(seed_counts), generator)
    narrow = at_queries(testbed, [-1])
    exact = gaussian_distances(narrow.law(), narrow.without([[point]]))["w2"].item()
    w2 = get_distance("w2")
    rows = []
    for n in seed_counts:
        found = [
            float(np.sqrt((w2(sample["before"].values[:n], sample[other].values[:n]) ** 2).mean()))
            for other in ("unpaired", "again")
        ]
        rows.append((n, *found, exact))
    return pd.DataFrame(rows, columns=["n_seeds", "sampled", "floor", "exact"])
