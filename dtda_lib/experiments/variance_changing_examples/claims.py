"""Claims C6 and C7 about points that change a variance: the rules that give their statuses.

Thresholds are our choice and stated in each rule; the paper's numbers are not known to us.
"""

from collections.abc import Mapping

import pandas as pd

from dtda_lib.study.claims import Claim, above, combine, decide
from dtda_lib.study.methods import METHODS
from dtda_lib.study.wording import bracketed

from .digits import ALPHA, FDR, NEGLIGIBLE
from .line import DELTAS, POOLINGS, delta_words

SURE = 0.95
"""Share of resamples from which a pick counts as known."""
WELL = 0.5
"""Correlation above which changes of variance count as predicted."""
_PAPER = "2506.12965"
_LAW = "law over seeds"

# ---------------------------------------------------------------- C6


def rival_status(row: pd.Series) -> str:
    """Status of "the mean picks another point" for one row of `line.rival_table`."""
    differ = row["by_mean"] != row["by_delta"]
    wins = min(row["mean_gap_low"], row["delta_gap_low"]) > 0
    return decide(
        confirmed=bool(differ and wins), refuted=bool(not wins and row["differ"] < 1 - SURE)
    )


def rival_claims(
    rivals: pd.DataFrame, n_seeds: int, setting: str, lone: bool = False
) -> list[Claim]:
    """C6 for each other Delta.

    Args:
        rivals: `line.rival_table`.
        n_seeds: Fresh seeds.
        setting: What was trained, in words.
        lone: Whether the data have the lone point that was made for it.
    """
    claims = []
    for delta in DELTAS[1:]:
        rows = rivals[rivals["delta"] == delta].set_index("pooling").loc[list(POOLINGS)]
        told = "; ".join(_rival_told(pooling, delta, row) for pooling, row in rows.iterrows())
        claims.append(
            Claim.from_row(
                {"estimate": rows["differ"].iloc[0]},
                count=n_seeds,
                id=f"C6-{delta}" + lone * "-lone",
                claim="mean influence picks another point than other influences do"
                f"{lone * ', where a lone point lies on the trend'} ({delta_words(delta)})",
                source=f"{_PAPER}, Fig 5",
                status=combine(rival_status(row) for _, row in rows.iterrows()),
                statistic=f"share of resamples of fresh seeds in which the picks differ ({told})",
                setting=setting,
                estimand=_LAW,
                rule="picks from the first seeds, judged on fresh ones: confirmed if they differ "
                "and the 95 % bootstrap intervals show that each wins by its own measure; "
                f"refuted if not so and the picks differ in less than {1 - SURE:.0%} of the "
                "resamples; averaged over queries and at the largest: both, else partly or "
                "inconclusive",
            )
        )
    return claims


def _rival_told(pooling: str, delta: str, row: pd.Series) -> str:
    picks = f"mean picks {row['by_mean']}, {delta_words(delta)} {row['by_delta']}"
    told = f"{pooling} over queries: {picks}"
    if row["by_mean"] == row["by_delta"]:
        return told
    gaps = " and ".join(bracketed(row, gap) for gap in ("mean_gap", "delta_gap"))
    return f"{told}, log ratios of their influences {gaps}"


def judged_rivals(rivals: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Who picks which point, averaged over queries, and the status of "another than the mean".

    `rivals`: name of the data -> `line.rival_table`. One row for each data and other Delta.
    """
    frames = []
    for data, table in rivals.items():
        rows = table[table["pooling"] == POOLINGS[0]]
        rows = rows.assign(data=data, status=[rival_status(row) for _, row in rows.iterrows()])
        frames.append(rows.assign(influence=rows["delta"].map(delta_words)))
    columns = {
        "data": "line",
        "influence": "influence",
        "by_mean": "pick of the mean",
        "by_delta": "its pick",
        "differ": "picks differ",
        "status": "status",
    }
    return pd.concat(frames, ignore_index=True)[list(columns)].rename(columns=columns)


def pick_status(agree: float) -> str:
    """Status of "the predicted pick is the true one", from the share of resamples that agree."""
    return decide(confirmed=agree > SURE, refuted=agree < 1 - SURE)


def predicted_pick_claims(scores: pd.DataFrame, setting: str) -> list[Claim]:
    """C6-predicted for each method, from `predictions.score_table`."""
    claims = []
    for method, rows in scores.groupby("method", sort=False):
        told = "; ".join(
            f"{delta_words(row['delta'])} {row['pick']} for {row['true_pick']}, {row['agree']:.2f}"
            for _, row in rows.iterrows()
        )
        claims.append(
            Claim.from_row(
                {"estimate": rows["agree"].min()},
                count=rows["n_seeds"].iloc[0],
                id=f"C6-{method}-predicted",
                claim="the picks predicted before retraining are the true ones "
                f"({METHODS[method].label})",
                source=f"{_PAPER}, Fig 5",
                status=combine(pick_status(share) for share in rows["agree"]),
                statistic=(
                    "least share over the four influences of resamples in which the predicted "
                    f"pick is the true one (predicted for true, share: {told})"
                ),
                setting=setting,
                estimand=f"{_LAW}, predicted on the first seeds, true on fresh ones",
                rule=f"for each influence confirmed if the share is above {SURE:g}, refuted below "
                f"{1 - SURE:g}; all alike, else partly or inconclusive",
            )
        )
    return claims


# ---------------------------------------------------------------- C7


def removal_claim(row: pd.Series, what: str, n_seeds: int, setting: str) -> Claim:
    """C7 for removals of one sort.

    Args:
        row: Of the table of `digits.replicate`.
        what: "points" or "groups".
        n_seeds: Seeds of each of the two sets.
        setting: What was trained, in words.
    """
    found, survives = bool(row["found"]), row["survive"] > 0
    return Claim(
        id=f"C7-{what}",
        claim=f"some removals change a prediction's variance and not its mean ({what})",
        source=f"{_PAPER}, Fig 11",
        status=decide(
            confirmed=bool(survives and row["low"] > row["chance_high"]), refuted=not survives
        ),
        statistic=f"share of discoveries that replicate on fresh seeds ({row['replicated']:.0f} of "
        f"{row['found']:.0f}; by chance {_shown(row['chance'])}, 97.5 % point "
        f"{_shown(row['chance_high'])}; {row['survive']:.0f} survive in full, of these "
        f"{row['negligible']:.0f} with a mean shift within {NEGLIGIBLE:g} sd; of "
        f"{row['pairs']:.0f} pairs {row['changed']:.0f} change their variance)",
        estimate=float(row["share"]) if found else None,
        ci=(float(row["low"]), float(row["high"])) if found else None,
        n=n_seeds,
        setting=setting,
        estimand=f"{_LAW}, pairs of a removal and a query",
        rule=f"discovery: variance changes at a false discovery rate of {FDR:.0%} over all pairs, "
        "and the 95 % interval of the mean shift covers 0; it replicates with p <= "
        f"{ALPHA:g} and the same sign, and survives in full if it also passes {FDR:.0%} over "
        "the discoveries and the fresh mean's interval covers 0. Confirmed if some survive "
        "and the share's jackknife interval lies above the 97.5 % point by chance, refuted if "
        "none survives, else inconclusive",
    )


def _shown(share: float) -> str:
    return "none" if pd.isna(share) else f"{share:.2f}"


def predicted_variance_claims(scores: pd.DataFrame, setting: str) -> list[Claim]:
    """C7-predicted for each method, from `predictions.pair_score_table`."""
    return [
        Claim.from_row(
            row,
            confirmed_if=above(WELL),
            value="correlation",
            count="n_seeds",
            interval="jackknife interval over seeds",
            id=f"C7-{row['method']}-predicted",
            claim="changes of variance are predicted before retraining "
            f"({METHODS[row['method']].label})",
            source=f"{_PAPER}, section 2",
            statistic="correlation over pairs of predicted and retrained log variance ratio, other "
            f"seeds (retraining itself {row['ceiling']:.2f}; of the top 5 % predicted "
            f"{row['hits']:.2f} survive, of all pairs {row['base_rate']:.3f})",
            setting=setting,
            estimand=f"{_LAW}, predicted on the first seeds, true on fresh ones",
        )
        for _, row in scores[scores["delta"] == "log_variance_ratio"].iterrows()
    ]
