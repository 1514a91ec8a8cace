"""Where do two methods agree: on which queries?

Scores are `(seed, train, query)` of the same seeds. Bad input is refused with a `ValueError` of one
sentence.
"""

import numpy as np
import xarray as xr

from .agreement import correlation, mean, noise_ceiling, split_half
from .over_seeds import jackknife_over_seeds, require_same_pairs, require_seeds


def per_query_correlations(
    method: xr.DataArray,
    reference: xr.DataArray,
    *,
    kind: str = "pearson",
    n_splits: int = 12,
    generator: np.random.Generator | None = None,
    level: float = 0.95,
) -> xr.Dataset:
    """Do two methods rank the training points of one query alike? Mean scores, per query.

    `(query)`: `r`, the correlation over training points of the means over seeds, NaN where one is
    constant; `reliability`, `reference_reliability` and `ceiling` of that query, from halves (NaN
    with fewer than four seeds). Without dimension: `average` of r over queries with its jackknife
    t interval over seeds `low`, `high`, and `average_ceiling`. A correlation over all pairs is
    also large where two methods merely agree on which queries are hard; this one is not.
    """
    require_same_pairs(method, reference)
    both = require_seeds(xr.Dataset({"method": method, "reference": reference}))

    def by_query(part: xr.Dataset) -> xr.DataArray:
        return correlation(mean(part["method"]), mean(part["reference"]), "train", kind)

    found = xr.Dataset({"r": by_query(both)})
    options = {"n_splits": n_splits, "generator": generator, "over": ["train"], "kind": kind}
    for name, key in (("method", "reliability"), ("reference", "reference_reliability")):
        enough = both.sizes["seed"] > 3
        value = split_half(both[name], mean, **options)["reliability"] if enough else np.nan
        found[key] = value + 0 * found["r"]
    found["ceiling"] = noise_ceiling(found["reliability"], found["reference_reliability"])
    interval = {"low": np.nan, "high": np.nan}
    if both.sizes["seed"] > 2:
        interval = jackknife_over_seeds(both, lambda part: by_query(part).mean(), level=level)
    ends = {name: interval[name] for name in ("low", "high")}
    averages = {"average": found["r"].mean(), "average_ceiling": found["ceiling"].mean()}
    return found.assign(averages | ends)
