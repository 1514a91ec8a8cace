"""How many retrainings `decide_pairs` takes, beside the fixed design that finds as much.

    python sequential.py [--studies 40] [--points 100] [--real]

Studies are simulated: points without and with an effect (of size delta = one standard deviation of
a shift over seeds, or larger), noise that is normal or skewed (exponential), one query or four. The
fixed design gives every point n seeds and tests once, by the pooled bootstrap t and
Benjamini-Hochberg at 5 %, as `reliable` does; its n is that at which it finds the share of real
effects that the sequential design found. Trainings of the full data are counted in both. Prints a
Markdown table; +- is a standard error over studies.

`floor` is what no sequential test can go below (Wald and Wolfowitz 1948), if noise were normal, its
size known, all effects delta and the level that of the fixed design: expected seeds of a point as a
share of those of a fixed one-sided test with the same two error rates.

`--real` trains small networks on digits and Concrete instead and prints for each estimator the
variance ratio of its predictions as control variates, and how many trainings `decide_pairs` takes,
delta being half, once and twice the median standard deviation of a shift over seeds. There every
seed is trained, so that all of these read the same runs; nobody knows the truth there.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from scipy import stats

import dtda_lib as dt
from dtda_lib.statistics import sequential
from dtda_lib.statistics.bootstrap_t import exceedance, resampled_null
from dtda_lib.statistics.power import discovery_level

MOST, DELTA, Q = 32, 1.0, 0.05
FIXED = (6, 8, 10, 12, 14, 16, 18, 21, 24, 28, 32, 40)


@dataclass(frozen=True)
class Setting:
    """What is simulated."""

    words: str
    law: str
    share: float
    varied: bool = False
    queries: int = 1


SETTINGS = (
    Setting("sparse (5 %), normal", "normal", 0.05),
    Setting("sparse (5 %), skewed", "skewed", 0.05),
    Setting("dense (50 %), normal", "normal", 0.5),
    Setting("dense (50 %), skewed", "skewed", 0.5),
    Setting("sparse, normal, effects of delta and more", "normal", 0.05, varied=True),
    Setting("sparse, skewed, effects of delta and more", "skewed", 0.05, varied=True),
    Setting("sparse, normal, four queries a point", "normal", 0.05, queries=4),
)


def simulated(
    setting: Setting, points: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mean shifts `(point, query)` and shifts `(seed, point, query)`."""
    shape = (points, setting.queries)
    real = np.zeros(points * setting.queries, bool)
    real[: round(setting.share * real.size)] = True
    size = 1 + setting.varied * generator.exponential(size=shape)
    size = DELTA * size * generator.choice([-1, 1], size=shape)
    mean = np.where(generator.permutation(real).reshape(shape), size, 0.0)
    full = (FIXED[-1], *shape)
    if setting.law == "normal":
        return mean, mean + generator.standard_normal(full)
    return mean, mean + generator.standard_exponential(full) - 1


def rates(called: np.ndarray, mean: np.ndarray) -> tuple[float, float]:
    """Share of false ones among signs called `(point, query)`, and share found of the real ones."""
    right = (called != 0) & (called == np.sign(mean))
    n = np.count_nonzero(called)
    return (1 - right.sum() / n if n else 0.0), right.sum() / np.count_nonzero(mean)


def fixed(values: np.ndarray, mean: np.ndarray, seed: int) -> tuple[float, float]:
    """`rates` of the fixed design with all of these seeds."""
    n = len(values)
    null = resampled_null(values.reshape(n, -1), np.random.default_rng(seed))
    t = np.sqrt(n) * values.mean(axis=0) / values.std(axis=0, ddof=1)
    p = exceedance(null, t)
    found = stats.false_discovery_control(p.ravel()).reshape(p.shape) <= Q
    return rates(np.where(found, np.sign(t), 0), mean)


def floor(share: float, points: int, power: float) -> float:
    """See the module."""
    if not 0 < power < 1:
        return np.nan
    a = discovery_level(points, max(1, round(share * points)), Q, power) / 2
    b = 1 - power
    none = 2 * ((1 - a) * np.log((1 - a) / b) + a * np.log(a / (1 - b)))
    real = 2 * ((1 - b) * np.log((1 - b) / a) + b * np.log(b / (1 - a)))
    return ((1 - share) * none + share * real) / (stats.norm.isf(a) + stats.norm.isf(b)) ** 2


def run(setting: Setting, points: int, studies: int) -> np.ndarray:
    """For each study: FDR, power, missed, trainings; power of each fixed design; their FDR."""
    rows = []
    for study in range(studies):
        mean, values = simulated(setting, points, np.random.default_rng([study, 1]))
        looks = sequential.looks_up_to(MOST)
        found = sequential.decisions(values[:MOST], DELTA, looks=looks, q=Q)
        sign = np.array([0, 1, -1, 0])[found.decision]
        missed = (found.decision == sequential.IS_NONE)[mean != 0].mean()
        trainings = found.seeds.sum() + found.seeds.max()
        each = np.array([fixed(values[:n], mean, study) for n in FIXED])
        rows.append([*rates(sign, mean), missed, trainings, *each[:, 1], *each[:, 0]])
    return np.array(rows)


def equal_seeds(rows: np.ndarray) -> tuple[float, float]:
    """Seeds of the fixed design of equal power, NaN if above all, and its false discovery rate."""
    mean = rows.mean(axis=0)
    power = np.maximum.accumulate(mean[4 : 4 + len(FIXED)])
    if not power[0] < mean[1] <= power[-1]:
        return np.nan, np.nan
    n = np.interp(mean[1], power, FIXED)
    return n, np.interp(n, FIXED, mean[4 + len(FIXED) :])


REAL_SEEDS, REAL_POINTS, REAL_QUERIES = 16, 20, 3
RECIPE = dt.Recipe("adam", lr=1e-2, weight_decay=5e-3, batch_size=8, epochs=30, keep_last=1)
ESTIMATORS = ("influence_ggn", "gradient_similarity", "trak")


def real() -> None:
    """See the module."""
    print("| task | estimator | variance ratio | delta / sd | pairs decided | trainings |")
    print("|---|---|---|---|---|---|")
    for name, settings in (
        ("mnist3", {"per_class": 10, "queries_per_class": 1}),
        ("concrete", {"n_train": 40, "n_query": REAL_QUERIES}),
    ):
        task = dt.get_task(name, **settings)
        model = dt.get_model("mlp", widths=(task.train_x[0].numel(), 8, task.n_outputs))
        bank = dt.retraining_bank(
            task, model, RECIPE, REAL_SEEDS, points=range(REAL_POINTS), workers=1
        )
        shift = dt.shifts(bank)
        sd = float(shift.std("seed", ddof=1).median())
        for estimator in (None, *ESTIMATORS):
            scores = None
            if estimator:
                bank_of = {"stream": "first", "workers": 1}
                scores = dt.scores(
                    dt.estimator_bank(task, model, RECIPE, 2 * REAL_SEEDS, estimator, **bank_of)
                )
            for factor in (0.5, 1.0, 2.0):
                found = dt.decide_pairs(
                    shift, factor * sd, predictions=scores, control=scores is not None
                )
                trained = int(found.pairs["seeds"].sum() + found.pairs["seeds"].max())
                done = sum(found.count().values()) - found.count()["needs more seeds"]
                print(
                    f"| {name} | {estimator or 'none'} | {found.variance_ratio:.3f} | {factor:g} "
                    f"| {done} of {found.pairs['mean'].size} | {trained} of {found.of} |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--real", action="store_true")
    given = parser.parse_args()
    if given.real:
        return real()
    print(
        "| setting | FDR | power | missed | seeds a point | fixed: seeds | fixed: FDR "
        "| ratio of trainings | floor |\n|---|---|---|---|---|---|---|---|---|"
    )
    for setting in SETTINGS:
        rows = run(setting, given.points, given.studies)
        error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
        mean = rows.mean(axis=0)

        def ratio(rows: np.ndarray) -> float:
            return rows[:, 3].mean() / (equal_seeds(rows)[0] * (1 + given.points))

        draws = np.random.default_rng(0).integers(len(rows), size=(400, len(rows)))
        spread = np.nanstd([ratio(rows[drawn]) for drawn in draws])
        n, of_fixed = equal_seeds(rows)
        cells = [f"{mean[i]:.3f} +- {error[i]:.3f}" for i in range(3)]
        cells += [f"{mean[3] / given.points:.1f}", f"{n:.1f}", f"{of_fixed:.3f}"]
        cells += [f"{ratio(rows):.2f} +- {spread:.2f}"]
        cells += [f"{floor(setting.share, given.points * setting.queries, mean[1]):.2f}"]
        print(f"| {setting.words} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
