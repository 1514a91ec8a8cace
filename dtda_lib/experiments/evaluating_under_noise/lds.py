"""LDS and distributional LDS of every method: do laws order and separate methods otherwise? (C9)"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics.distances import get_distance, w2_sampling_share
from dtda_lib.statistics.distributions import shifted_samples
from dtda_lib.statistics.lds import LdsScores, score
from dtda_lib.study.methods import METHODS, NO_UNIT

from .setting import ESTIMATED, SOURCE, UNROLLING, BaseRegime, law_before, laws_after

WITH_UNIT = (
    *(name for name in ESTIMATED if METHODS[name].unit != NO_UNIT),
    SOURCE,
    UNROLLING,
)
LAW_METRICS = ("log_variance_ratio", "w2_debiased")  # compared with the mean
SHOWN_METRICS = ("mean", *LAW_METRICS)
_LABELS = {"w2_gaussian_squared": "w2"}  # Delta -> label in tables and checks, where it differs


def group_scores(
    bank: RunBank,
    groups: Sequence[Sequence[int]],
    base: xr.DataArray,
    predicted: Mapping[str, xr.DataArray],
    generator: np.random.Generator,
) -> LdsScores:
    """LDS of all methods on these subsets.

    Args:
        bank: Retrained without each group (`Setting.subsets`).
        groups: Positions that each subset leaves out.
        base: Losses of the attributed models `(seed, query)`, of seeds other than the bank's.
        predicted: Shifts `(seed, train, query)` on those models, of all points; a group's is the
            sum of its members'.
        generator: For halves and permutations.
    """
    after = laws_after(bank, groups)
    laws = {
        name: (base, shifted_samples(base, shifts, groups).reset_coords(drop=True))
        for name, shifts in predicted.items()
    }
    found = score((law_before(bank), after), laws, generator=generator)
    return replace(found, metrics=tuple(_LABELS.get(name, name) for name in found.metrics))


def lds_table(scores: Mapping[tuple[str, str], LdsScores]) -> pd.DataFrame:
    """Every score, by (setting, size of the subsets).

    Columns `setting, size, metric, method, lds, low, high, error, ceiling, truth_ceiling, null`:
    95 % jackknife intervals over seeds and subsets; `ceiling` for this method's and
    `truth_ceiling` for noise-free predictions; `null`: 97.5 % point with permuted subsets.
    """
    rows = []
    for (setting, size), found in scores.items():
        values = found.interval(lambda table: table)
        for i, metric in enumerate(found.metrics):
            for j, method in enumerate(found.methods):
                estimate, error, low, high = (float(v[i, j]) for v in values)
                row = {"setting": setting, "size": size, "metric": metric, "method": method}
                row |= {"lds": estimate, "low": low, "high": high, "error": error}
                row |= {"ceiling": float(found.ceiling[i, j])}
                row |= {"truth_ceiling": float(np.sqrt(found.truth_reliability[i]))}
                rows.append(row | {"null": float(found.null_high[i, j])})
    return pd.DataFrame(rows)


def only(scores: LdsScores, methods: Sequence[str]) -> LdsScores:
    """The scores of these methods (those of them that were taken)."""
    at = [i for i, name in enumerate(scores.methods) if name in methods]
    return replace(
        scores,
        methods=tuple(scores.methods[i] for i in at),
        estimate=scores.estimate[:, at],
        left_out={source: values[..., at] for source, values in scores.left_out.items()},
        reliability=scores.reliability[:, at],
        null_high=scores.null_high[:, at],
    )


def separation_table(scores: Mapping[tuple[str, str], LdsScores]) -> pd.DataFrame:
    """How far apart each metric holds the methods, and whether it orders them as the mean does.

    Columns `setting, size, metric`;

    * `spread`: standard deviation of LDS over methods without its noise (half the mean squared
      error of a difference of two methods), over the truth's ceiling;
    * `by_mean`: that of LDS of the mean; `more, low, high`: what spread is beyond it, with the 95 %
      jackknife interval;
    * `gap`: median over pairs of methods of |difference| / its standard error; `gap_by_mean`: the
      same of LDS of the mean;
    * `alike`, `reversed`: pairs of methods that mean and metric order alike, and oppositely, both
      beyond error (Bonferroni over pairs and both metrics), of `pairs`;
    * `subsets`: how many there are.
    """
    rows = []
    for (setting, size), found in scores.items():
        pairs = list(combinations(range(len(found.methods)), 2))
        gaps, errors, *_ = found.interval(
            lambda table, pairs=pairs: np.stack(
                [table[..., i] - table[..., j] for i, j in pairs], -1
            )
        )  # (metric, pair)
        noise = (errors**2).mean(axis=1) / 2  # (metric,)
        scale = np.sqrt(found.truth_reliability)

        def spread(
            table: np.ndarray, noise: np.ndarray = noise, scale: np.ndarray = scale
        ) -> np.ndarray:
            signal = table.var(axis=-1, ddof=1) - noise
            return np.sqrt(np.maximum(signal, 1e-6)) / scale

        mean = found.metrics.index("mean")
        more = found.interval(
            lambda table, spread=spread, mean=mean: spread(table) - spread(table)[..., [mean]]
        )
        df = min(map(len, found.left_out.values())) - 1
        sure = np.abs(gaps) > errors * stats.t.isf(0.05 / (4 * len(pairs)), df)
        spreads = spread(found.estimate)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.nanmedian(np.abs(gaps) / errors, axis=1)  # (metric,)
        for i, metric in enumerate(found.metrics):
            same = np.sign(gaps[i] * gaps[mean])[sure[i] & sure[mean]]
            row = {"setting": setting, "size": size, "metric": metric}
            row |= {"spread": float(spreads[i]), "by_mean": float(spreads[mean])}
            row |= {"more": float(more[0][i]), "low": float(more[2][i]), "high": float(more[3][i])}
            row |= {"gap": float(ratios[i]), "gap_by_mean": float(ratios[mean])}
            row |= {"alike": int((same > 0).sum()), "reversed": int((same < 0).sum())}
            rows.append(row | {"pairs": len(pairs), "subsets": len(found.left_out["subsets"])})
    return pd.DataFrame(rows)


def sampling_share_table(settings: Mapping[str, BaseRegime]) -> pd.DataFrame:
    """What part of the retrained W2^2 sampling makes up, by setting and size of the subsets.

    Columns `setting, size, w2` (root of the mean of the plug-in, loss units), `sampling_share` (of
    the mean square), `unpaired_share` (what independent samples of one law would have, 3 sigma^2 /
    seeds, over the same), `n_seeds`.
    """
    rows = []
    for setting, one in settings.items():
        before = law_before(one.subsets).values
        for size, chosen in one.groups.items():
            after = laws_after(one.subsets, chosen).values
            square = get_distance("w2_gaussian_squared")(before[:, None], after).mean()
            share = w2_sampling_share(before[:, None], after).mean() / square
            alone = 3 * before.var(axis=0, ddof=1).mean() / len(before) / square
            row = {"setting": setting, "size": size, "w2": float(np.sqrt(square))}
            row |= {"sampling_share": float(share), "unpaired_share": float(alone)}
            rows.append(row | {"n_seeds": len(before)})
    return pd.DataFrame(rows)
