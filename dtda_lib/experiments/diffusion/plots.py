"""Drawing of the diffusion ensemble: each function returns the figure and exactly what it shows."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from dtda_lib.study.figures import TEXT_WIDTH, Drawn, intervals, named_rows, text_beside
from dtda_lib.study.methods import ACCENT, DELTAS, palette
from dtda_lib.study.previews import show_image

from .claims import MARGIN
from .ensemble import (
    BY_MEAN,
    BY_PIXELS,
    BY_VARIANCE,
    NONE,
    RANDOM,
    Ensemble,
    GeneratedSamples,
    Scored,
)
from .lists import LIST_KINDS, influences_by_kind
from .quality import Confidence
from .retrained import DIGIT

LISTS = {
    "mean": f"{DELTAS['mean'].label}, size",
    "w2": DELTAS["w2"].label,
    "variance": f"{DELTAS['variance'].label}, size",
    "own": "fixed seed, size",
    "helps": "mean shift, signed",
}
"""How figures call a list, from top to bottom."""
_LOOKS = palette(
    {
        BY_MEAN: "by mean",
        BY_VARIANCE: "by variance",
        BY_PIXELS: "nearest in pixels",
        DIGIT: "random, same digit",
        RANDOM: "random",
    },
    control=RANDOM,
)
_OVERLAPS = palette(
    {
        "first": "halves, first list",
        "second": "halves, second list",
        "between": "between the two lists",
    }
)
_GAPS = palette({"plain": "plain gap", "strict": "strict gap"})


def _shown(axis: Axes, image: Tensor, frame: str = "") -> None:
    show_image(axis, image.clamp(0, 1))
    if frame:
        place = {"transform": axis.transAxes, "clip_on": False, "fill": False}
        axis.add_patch(Rectangle((0, 0), 1, 1, **place, edgecolor=frame, linewidth=0.7))


def samples(
    ensemble: Ensemble, found: GeneratedSamples, sure: Confidence, columns: int = 12
) -> Drawn:
    """Generated images with their numbers, each above its nearest training image; weak ones orange.

    The data are the distances in pixels to the nearest image of either digit, and the classifier's
    margin with the bound below which it is weak.
    """
    n, away = len(found.codes), ensemble.pixel_distances(found.codes)
    lines = -(-n // columns)
    fig, axes = plt.subplots(2 * lines, columns, figsize=(TEXT_WIDTH, 1.02 * lines), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for sample, image in enumerate(ensemble.code.decode(found.codes)):
        line, column = 2 * (sample // columns), sample % columns
        _shown(axes[line, column], image)
        weak = sample in sure.weak
        look = {"color": ACCENT, "fontweight": "bold"} if weak else {"color": "black"}
        axes[line, column].set_title(str(sample + 1), fontsize=6, pad=1, **look)
        _shown(axes[line + 1, column], ensemble.images[int(away[:, sample].argmin())])
    for line in range(2 * lines):
        text_beside(axes[line, 0], "training" if line % 2 else "generated", rotation=90)
    labels = ensemble.digits.train_y.numpy()
    rows = {"sample": np.arange(n), "run": found.run}
    rows |= {f"distance_{digit}": away[labels == digit].min(axis=0) for digit in np.unique(labels)}
    return fig, pd.DataFrame(rows | {"margin": sure.margin, "bound": sure.bound})


def lists(
    ensemble: Ensemble, found: GeneratedSamples, scored: Scored, chosen: list[int], shown: int = 8
) -> Drawn:
    """The first images of each list for some samples; orange frames: not on the mean's list.

    The data are the influences of *all* images, by position: they say which come first as well,
    and do not jump where rounding on another machine swaps two of nearly equal influence.
    """
    away = ensemble.pixel_distances(found.codes)
    every = influences_by_kind(scored, np.arange(len(scored.base)), 0)
    lines = [*LISTS, "nearest"]
    fig, axes = plt.subplots(
        len(lines),
        len(chosen) * (shown + 1) + len(chosen) - 1,
        figsize=(TEXT_WIDTH, 0.28 * len(lines)),
        gridspec_kw={"wspace": 0.08, "hspace": 0.1},
    )
    for axis in axes.flat:
        axis.axis("off")
    decoded, rows = ensemble.code.decode(found.codes), []
    for place, sample in enumerate(chosen):
        start = place * (shown + 2)
        _shown(axes[0, start], decoded[sample])
        axes[0, start].set_title("generated", fontsize=6.5, pad=2, loc="left")
        values = {name: every[LIST_KINDS.index(name), :, sample] for name in LISTS}
        values["nearest"] = -away[:, sample]
        orders = [np.argsort(-values[name], kind="stable")[:shown] for name in lines]
        for line, order in enumerate(orders):
            for column, image in enumerate(order, start=start + 1):
                frame = "0.8" if image in orders[0] else ACCENT
                _shown(axes[line, column], ensemble.images[int(image)], frame)
        part = pd.DataFrame({"sample": sample, "image": np.arange(len(away))} | values)
        rows.append(part)
    names = [*LISTS.values(), _LOOKS[BY_PIXELS].label]
    for line, name in enumerate(names):
        text_beside(axes[line, -1], name, 1.25, fontsize=6.5)
    return fig, pd.concat(rows, ignore_index=True)


def list_overlaps(table: pd.DataFrame) -> Drawn:
    """Overlaps between halves and between Δ's on the left, their gaps with intervals right."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.7), sharey=True)
    at = np.arange(len(table))
    for shift, (name, look) in zip((-0.15, 0, 0.15), _OVERLAPS.items()):
        left.plot(table[name], at + shift, **look.points, ls="")
    left.axvline(table["chance"].iloc[0], color="0.6", lw=0.8, ls=":", label="at random")
    left.set(xlabel="overlap of top lists", xlim=(0, 1.03))
    for shift, (name, look) in zip((-0.13, 0.13), _GAPS.items()):
        intervals(right, table, at + shift, look, value=name, across=True, label=look.label)
    right.axvspan(-MARGIN, MARGIN, color="0.92", zorder=0, label="within the margin")
    right.set(xlabel="overlap of halves − of questions")
    names = {kind: text.replace(", size", "") for kind, text in LISTS.items()}
    pairs = zip(table["first_list"], table["second_list"])
    named_rows(left, [f"{names[a]}\nand {names[b]}" for a, b in pairs])
    for axis, anchor in ((left, "upper left"), (right, "upper right")):
        handles = axis.get_legend_handles_labels()
        fig.legend(*handles, loc=f"outside {anchor}", ncols=2 if axis is left else 1)
    columns = ["first_list", "second_list", "first", "second", "between", "chance"]
    columns += [f"{name}{end}" for name in _GAPS for end in ("", "_low", "_high")]
    return fig, table[columns]


def retrained(table: pd.DataFrame, each: pd.DataFrame) -> Drawn:
    """Rises of the loss after one removal over another, with samples; and widenings."""
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(TEXT_WIDTH, 2.7), gridspec_kw={"width_ratios": [1.5, 1]}
    )
    rises = table[(table["measured"] == "rise") & (table["second"] != NONE)]
    seconds = [RANDOM, DIGIT, BY_PIXELS]
    rows = rises.set_index(["first", "second"], drop=False)
    lines = [(a, b) for b in seconds for a in _LOOKS if (a, b) in rows.index]
    for at, (first, second) in enumerate(lines):
        look, row = _LOOKS[first], rows.loc[(first, second)]
        if second == RANDOM:
            part = each[each["list"] == first]["rise"]
            left.plot(part, np.full(len(part), at + 0.22), "|", color=look.colour, ms=5, alpha=0.7)
        intervals(left, row, at - 0.1, look, across=True, lw=1.2)
    names = [
        _LOOKS[first].label + ("" if second == RANDOM else f"\n− {_LOOKS[second].label}")
        for first, second in lines
    ]
    named_rows(left, names)
    left.set(xlabel="rise of the loss over random\nremoval, or as named (%)")
    widenings = table[table["measured"] == "widening"]
    for at, (_, row) in enumerate(widenings.iterrows()):
        intervals(right, row, at, _LOOKS[row["first"]], across=True, lw=1.2)
    short = {BY_MEAN: "mean", BY_VARIANCE: "variance", RANDOM: "random"}
    names = [f"{short[a]} to\n{short[b]}" for a, b in zip(widenings["first"], widenings["second"])]
    named_rows(right, names)
    right.set(xlabel="log ratio of variances")
    for axis in (left, right):
        axis.axvline(0, color="0.6", lw=0.8, zorder=0)
        axis.margins(y=0.15)
    shown = pd.concat([rises, widenings])[
        ["measured", "first", "second", "estimate", "low", "high"]
    ]
    dots = each.rename(columns={"list": "first", "rise": "estimate"})
    dots = dots.assign(measured="rise of one sample", second=RANDOM)
    return fig, pd.concat([shown, dots], ignore_index=True)


def predicted_and_observed_shifts(
    shifts: xr.Dataset, names: list[str], judged: np.ndarray
) -> Drawn:
    """Predicted and observed mean shift of the loss: a group's own sample dark, others pale."""
    observed = shifts["observed"].mean("seed").values
    rows = []
    for place, name in enumerate(names):
        kind, _, number = name.partition("/")
        kind = DIGIT if kind.startswith(DIGIT) else kind
        for column, sample in enumerate(judged):
            own = kind not in (DIGIT, RANDOM) and int(number) == sample
            predicted = float(shifts["predicted"][place, column])
            rows.append((name, kind, int(sample), own, predicted, observed[place, column]))
    columns = ["group", "kind", "sample", "own", "predicted", "observed"]
    drawn = pd.DataFrame(rows, columns=columns)
    fig, axis = plt.subplots(figsize=(TEXT_WIDTH, 2.8))
    for kind, look in _LOOKS.items():
        part = drawn[drawn["kind"] == kind]
        for own, alpha in ((False, 0.25), (True, 1.0)):
            here = part[part["own"] == own]
            if here.empty:
                continue
            told = {"label": look.label} if own or kind in (DIGIT, RANDOM) else {}
            told |= {"color": look.colour, "alpha": alpha, "ms": 3.5}
            axis.plot(here["predicted"], here["observed"], look.marker, **told)
    ends = [drawn["predicted"].min(), drawn["predicted"].max()]
    axis.plot(ends, ends, color="0.6", lw=0.8, zorder=0, label="observed = predicted")
    axis.set(xlabel="predicted shift of the loss upon removal", ylabel="observed shift")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig, drawn
