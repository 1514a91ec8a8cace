"""What notebook 12 shows: all claims, and the scores of all estimators, out of committed files."""

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from dtda_lib.experiments.evaluating_under_noise.plots import STYLES
from dtda_lib.study import markdown
from dtda_lib.study.claims import STATUSES, described, rule_numbers
from dtda_lib.study.figures import TEXT_WIDTH
from dtda_lib.study.pages.gallery import SHOWN_PROFILES, descriptions
from dtda_lib.study.pages.scoreboard import HEADLINES, Found, headline_of, link, scoreboard

LDS_NOTEBOOK = "08_evaluating_under_noise"
TOLD = {"mean": "mean", "log_variance_ratio": "variance", "w2_debiased": "W2"}
"""Metrics of notebook 08 -> column names."""

# Status colours: one hue from sure to sure, grey where nothing was decided.
_COLOURS = dict(zip(STATUSES, ("#117733", "#88CCAA", "#882255", "#BBBBBB", "#FFFFFF")))


def headline_table(found: Sequence[Found]) -> Markdown:
    """The scoreboard of README.md, with links for a reader in the folder of notebooks."""
    return Markdown(markdown.table(scoreboard(found, base="")))


def status_counts(found: Iterable[Found]) -> pd.DataFrame:
    """How many variants of each headline came to each status: `id, status, variants`."""
    counts = Counter((headline_of(c["id"]), c["status"]) for _, _, c in found)
    rows = [
        {"id": line.id, "status": status, "variants": counts[line.id, status]}
        for line in HEADLINES
        for status in STATUSES
    ]
    return pd.DataFrame(rows)


def status_bars(counts: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """One bar per headline: the share of its variants with each status, and their number."""
    words = {line.id: line.words for line in HEADLINES}
    wide = counts.pivot(index="id", columns="status", values="variants").loc[list(words)]
    total = wide.sum(axis=1)
    fig, axis = plt.subplots(figsize=(TEXT_WIDTH, 0.7 + 0.175 * len(words)))
    left = pd.Series(0.0, wide.index)
    for status in STATUSES[:-1]:
        share = wide[status] / total.where(total > 0, 1)
        axis.barh(range(len(words)), share, left=left, color=_COLOURS[status], label=status)
        left += share
    for level, (name, n) in enumerate(total.items()):
        axis.text(1.02, level, n or "not tested", va="center", fontsize=7)
        axis.text(-0.02, level, f"{words[name]}  {name}", va="center", ha="right", fontsize=7)
    axis.set(xlim=(0, 1), ylim=(len(words) - 0.4, -0.6), yticks=[], xlabel="share of variants")
    axis.spines["left"].set_visible(False)
    fig.legend(loc="outside upper center", ncols=4)
    return fig, counts


def claims_table(found: Sequence[Found], root: Path | str) -> Markdown:
    """Every claim with status, number, interval, setting, rule and the figures that show it."""
    seen = figures_of(root)
    rules = rule_numbers(claim["rule"] for _, _, claim in found)
    rows = [
        {
            **described(claim, rules),
            "figures": ", ".join(seen.get((profile, notebook, claim["id"]), ["-"])),
            "": f"{link(notebook, '')} `{profile}`",
        }
        for profile, notebook, claim in found
    ]
    return Markdown(
        f"{markdown.table(rows)}\n\nThe rules that gave the statuses:\n\n{markdown.numbered(rules)}"
    )


def figures_of(root: Path | str) -> dict[tuple[str, str, str], list[str]]:
    """`(profile, notebook, claim id)` -> links to the figures that name the claim."""
    links: dict[tuple[str, str, str], list[str]] = {}
    for profile in SHOWN_PROFILES:
        for path in descriptions(Path(root) / "figures" / profile):
            figure = json.loads(path.read_text(encoding="utf-8"))
            to = f"[{figure['figure']}](../figures/{profile}/{path.stem}.png)"
            for name in figure["claims"]:
                links.setdefault((profile, figure["notebook"], name), []).append(to)
    return links


def lds_scores(root: Path | str) -> tuple[str, pd.DataFrame]:
    """LDS of every estimator as notebook 08 exported it, at its best profile.

    Returns:
        The profile, and columns `setting, size, metric, method, lds, low, high, ceiling, null`
        (Spearman over subsets, mean over queries; 95 % jackknife intervals over seeds and subsets).

    Raises:
        FileNotFoundError: notebook 08 has exported nothing.
    """
    for profile in SHOWN_PROFILES:
        paths = sorted((Path(root) / "figures" / profile).glob(f"{LDS_NOTEBOOK}-lds_*.csv"))
        if paths:
            frames = [pd.read_csv(io.StringIO(path.read_text(encoding="utf-8"))) for path in paths]
            columns = [
                "setting",
                "size",
                "metric",
                "method",
                "lds",
                "low",
                "high",
                "ceiling",
                "null",
            ]
            return profile, pd.concat(frames, ignore_index=True)[columns]
    raise FileNotFoundError(
        f"scoreboard: figures/ holds no LDS of notebook {LDS_NOTEBOOK}; run `./run_all.sh 08`."
    )


def lds_table(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, size and method: `score [interval] of ceiling`, a column a metric."""
    rows = scores[scores["metric"].isin(TOLD)]
    text = [
        f"{r.lds:.2f} [{r.low:.2f}, {r.high:.2f}] of {r.ceiling:.2f}" for r in rows.itertuples()
    ]
    rows = rows.assign(text=text, metric=rows["metric"].map(TOLD))
    wide = rows.pivot(index=["setting", "size", "method"], columns="metric", values="text")
    order = rows[["setting", "size", "method"]].drop_duplicates()
    return wide.loc[pd.MultiIndex.from_frame(order), list(TOLD.values())].reset_index()


def lds_against_lds(scores: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Distributional LDS (variance) against LDS of the mean, one mark per estimator."""
    wide = scores.pivot(
        index=["setting", "size", "method"], columns="metric", values=["lds", "low", "high"]
    )
    panels = list(dict.fromkeys(zip(scores["setting"], scores["size"])))
    methods = [name for name in STYLES if name in set(scores["method"])]
    rows = math.ceil(len(panels) / 2)
    fig, axes = plt.subplots(
        rows, 2, sharex=True, sharey=True, squeeze=False, figsize=(TEXT_WIDTH, 0.8 + 2.1 * rows)
    )
    for axis, panel in zip(axes.flat, panels):
        here = wide.loc[panel]
        for method in filter(here.index.__contains__, methods):
            row, style = here.loc[method], STYLES[method]
            ends = {
                side: [
                    [row["lds", metric] - row["low", metric]],
                    [row["high", metric] - row["lds", metric]],
                ]
                for side, metric in (("xerr", "mean"), ("yerr", "log_variance_ratio"))
            }
            point = row["lds", "mean"], row["lds", "log_variance_ratio"]
            axis.errorbar(
                *point, **ends, **(style.line | {"linestyle": ""}), ms=4, lw=0.8, capsize=0
            )
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
