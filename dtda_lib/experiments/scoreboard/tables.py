"""What notebook 12 draws: how robust each verdict is, and the scores of all estimators."""

import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from dtda_lib.study.claims import STATUSES
from dtda_lib.study.evidence import EVIDENCE, PREVIEW, Evidence
from dtda_lib.study.figures import TEXT_WIDTH, Drawn
from dtda_lib.study.methods import DELTAS, METHODS, STATUS_COLOURS

LDS_NOTEBOOK = "08_evaluating_under_noise"
TOLD = {name: DELTAS[name].tick for name in ("mean", "log_variance_ratio", "w2_debiased")}
"""Metrics of notebook 08 -> column names."""

# Markers for those who see no hues.
_MARKERS = dict(zip(STATUSES, ("o", "D", "X", "s", "o")))


def variant_table(evidence: Evidence) -> pd.DataFrame:
    """Every variant of every headline, the headline first: `id, variant, verdict, headline`."""
    rows = []
    for standing in evidence.standings():
        line = standing.headline
        rows.append((line.id, line.key, standing.verdict, True))
        others = [one for one in standing.variants if one.claim.id != line.key]
        others.sort(key=lambda one: (STATUSES.index(one.verdict), one.claim.id))
        rows += [(line.id, one.claim.id, one.verdict, False) for one in others]
    return pd.DataFrame(rows, columns=["id", "variant", "verdict", "headline"])


def variant_dots(evidence: Evidence) -> Drawn:
    """A strip a headline: the dot left of the line gives the verdict, those right of it are its
    robustness checks, one each."""
    drawn = variant_table(evidence)
    words = {one.headline.id: one.headline.words for one in evidence.standings()}
    level = {name: n for n, name in enumerate(words)}
    place = drawn.groupby("id").cumcount().where(~drawn["headline"], -0.5)
    fig, axis = plt.subplots(figsize=(TEXT_WIDTH, 0.7 + 0.175 * len(words)))
    for status, marker in _MARKERS.items():
        here = drawn["verdict"] == status
        axis.scatter(
            place[here],
            drawn["id"][here].map(level),
            label=status,
            color=STATUS_COLOURS[status],
            marker=marker,
            edgecolors="0.4",
            linewidths=0.5,
            s=22,
        )
    axis.axvline(0.25, color="0.7", lw=0.8)
    axis.set_xticks([0, 0.5], ["verdict", "robustness checks"])
    for label, side in zip(axis.get_xticklabels(), ("right", "left")):
        label.set_horizontalalignment(side)
    axis.set_ylim(len(words) - 0.4, -0.6)
    axis.set_yticks(range(len(words)), [f"{text}  {name}" for name, text in words.items()])
    axis.tick_params(left=False, bottom=False)
    axis.spines[["left", "bottom"]].set_visible(False)
    fig.legend(loc="outside upper center", ncols=5)
    return fig, drawn


def lds_scores(root: Path | str) -> tuple[str, pd.DataFrame]:
    """LDS of every estimator as notebook 08 exported it, at its best profile.

    Returns:
        The profile, and columns `setting, size, metric, method, lds, low, high, ceiling, null`
        (Spearman over subsets, mean over queries; 95 % jackknife intervals over seeds and subsets).

    Raises:
        FileNotFoundError: notebook 08 has exported nothing.
    """
    for profile in (EVIDENCE, PREVIEW):
        paths = sorted((Path(root) / "figures" / profile).glob(f"{LDS_NOTEBOOK}-lds_*.csv"))
        if paths:
            frames = [pd.read_csv(io.StringIO(path.read_text(encoding="utf-8"))) for path in paths]
            columns = ["setting", "size", "metric", "method", "lds", "low", "high"]
            columns += ["ceiling", "null"]
            return profile, pd.concat(frames, ignore_index=True)[columns]
    raise FileNotFoundError(
        f"scoreboard: figures/ holds no LDS of notebook {LDS_NOTEBOOK}; run `./run_all.sh 08`."
    )


def lds_overview(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, size and method: `score [interval] of ceiling`, a column a metric."""
    wide = _wide(scores, ["setting", "size", "method"], _score)
    return wide.assign(method=[METHODS[name].label for name in wide["method"]])


def best_table(scores: pd.DataFrame) -> pd.DataFrame:
    """The estimator with the highest score in each setting: `name, score [interval] of ceiling`.

    A row a setting and size, a column a metric; see `lds_overview` for all estimators.
    """
    groups = scores.groupby(["setting", "size", "metric"], sort=False)
    best = scores.loc[groups["lds"].idxmax()].sort_values(["setting", "size"], kind="stable")
    return _wide(
        best, ["setting", "size"], lambda row: f"{METHODS[row['method']].label}, {_score(row)}"
    )


def _wide(
    scores: pd.DataFrame, index: list[str], told: Callable[[Mapping[str, Any]], str]
) -> pd.DataFrame:
    """What is told of each score, a row for each of `index` in their order, a column a metric."""
    rows = scores[scores["metric"].isin(TOLD)]
    text = [told(row) for row in rows.to_dict("records")]
    rows = rows.assign(text=text, metric=rows["metric"].map(TOLD))
    wide = rows.pivot(index=index, columns="metric", values="text")
    order = pd.MultiIndex.from_frame(rows[index].drop_duplicates())
    return wide.loc[order, list(TOLD.values())].reset_index().rename_axis(columns=None)


def lds_claims(evidence: Evidence) -> list[str]:
    """Ids of the claims that the scores speak about: those on how well LDS separates methods."""
    return [one.claim.id for one in evidence.of(LDS_NOTEBOOK) if "C9" in one.claim.id]


def _score(row: Mapping[str, Any]) -> str:
    return f"{row['lds']:.2f} [{row['low']:.2f}, {row['high']:.2f}] of {row['ceiling']:.2f}"


def lds_against_lds(scores: pd.DataFrame) -> Drawn:
    """Distributional LDS (variance) against LDS of the mean, one mark per estimator."""
    wide = scores.pivot(
        index=["setting", "size", "method"], columns="metric", values=["lds", "low", "high"]
    )
    panels = list(dict.fromkeys(zip(scores["setting"], scores["size"])))
    methods = [name for name in METHODS if name in set(scores["method"])]
    rows = math.ceil(len(panels) / 2)
    fig, axes = plt.subplots(
        rows, 2, sharex=True, sharey=True, squeeze=False, figsize=(TEXT_WIDTH, 0.8 + 2.1 * rows)
    )
    for axis, panel in zip(axes.flat, panels):
        here = wide.loc[panel]
        for method in filter(here.index.__contains__, methods):
            row, style = here.loc[method], METHODS[method]
            ends = {
                side: [
                    [row["lds", metric] - row["low", metric]],
                    [row["high", metric] - row["lds", metric]],
                ]
                for side, metric in (("xerr", "mean"), ("yerr", "log_variance_ratio"))
            }
            point = row["lds", "mean"], row["lds", "log_variance_ratio"]
            axis.errorbar(*point, **ends, **(style.line | {"linestyle": ""}), lw=0.8, capsize=0)
        axis.plot([-0.2, 1], [-0.2, 1], color="0.7", lw=0.6, zorder=0)
        axis.set_title(f"{panel[0]}, {panel[1]} left out")
    for axis in axes[-1]:
        axis.set_xlabel("LDS of the mean")
    for axis in axes[:, 0]:
        axis.set_ylabel("LDS of the variance")
    shown = {a.get_label(): a for axis in axes.flat for a in axis.containers}
    fig.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=4)
    drawn = scores[scores["metric"].isin(["mean", "log_variance_ratio"])]
    return fig, drawn.reset_index(drop=True)
