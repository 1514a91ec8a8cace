"""Agreement query by query, against SciPy."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.statistics import agreement as ag
from dtda_lib.statistics import agreement_where as aw

EACH_KIND = pytest.mark.parametrize("kind", ["pearson", "spearman"])


def rng(seed=0):
    return np.random.default_rng(seed)


def array(values):
    return xr.DataArray(values, {"seed": np.arange(len(values))}, ("seed", "train", "query"))


def some():
    """Scores of six seeds with some agreement, of two methods."""
    generator = rng()
    truth = generator.normal(size=(8, 5))
    return {name: array(truth + generator.normal(size=(6, 8, 5))) for name in "ab"}


@EACH_KIND
def test_per_query_correlations_are_scipys(kind):
    scores = some()
    found = aw.per_query_correlations(scores["a"], scores["b"], kind=kind)
    test = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[kind]
    means = [scores[name].values.mean(axis=0) for name in "ab"]
    expected = [test(means[0][:, q], means[1][:, q]).statistic for q in range(5)]
    np.testing.assert_allclose(found["r"], expected)
    one = ag.split_half(scores["a"].isel(query=[2]), ag.mean, over="train", kind=kind)
    assert float(found["reliability"][2]) == pytest.approx(float(one["reliability"][0]))
    assert float(found["average"]) == pytest.approx(np.mean(expected))
    values = [scores[name].values for name in "ab"]
    each = []
    for out in range(6):
        a, b = (np.delete(x, out, 0).mean(axis=0) for x in values)
        each.append(np.mean([test(a[:, q], b[:, q]).statistic for q in range(5)]))
    half = stats.t.ppf(0.975, 5) * np.sqrt(5 * np.var(each))
    assert float(found["high"] - found["average"]) == pytest.approx(half)


def test_hard_queries_alone_make_no_agreement_per_query():
    generator = rng(4)
    hard = 5 * generator.normal(size=(1, 1, 40))
    a, b = (array(hard + generator.normal(size=(10, 30, 40))) for _ in range(2))
    assert float(ag.correlation(ag.mean(a), ag.mean(b))) > 0.9
    found = aw.per_query_correlations(a, b, generator=rng())
    assert float(found["low"]) < 0 < float(found["high"])
    few = aw.per_query_correlations(a[:2], b[:2])
    assert few["r"].notnull().all()
    assert np.isnan([few["low"], few["average_ceiling"]]).all()


def test_other_seeds_are_refused():
    scores = some()
    with pytest.raises(ValueError, match="labels of a shared"):
        aw.per_query_correlations(scores["a"], scores["b"][:3])
