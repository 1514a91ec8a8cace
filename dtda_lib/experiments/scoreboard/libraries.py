"""Our estimators beside public libraries, out of the result of `tests/benchmarks/anchors.py`.

Notebook 12 shows it. Nothing is computed here but the form of what is shown.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.artefacts import study_root
from dtda_lib.study.figures import TEXT_WIDTH, Drawn, intervals
from dtda_lib.study.methods import METHODS
from dtda_lib.study.tables import readable
from dtda_lib.study.wording import bullets

FORMAT = 1
RESULT = Path("tests", "benchmarks", "anchors.json")  # seen from the study's root
COMMAND = "python tests/benchmarks/anchors.py"
LIBRARY_METRICS = ("mean", "variance", "W2")
NEEDED = ("settings", "versions", "machine", "models", "lead", "rows")
"""What a result must hold."""

_NAMES = {"curvlinops-for-pytorch": "curvlinops"}


def comparison(path: Path | str | None = None) -> dict[str, Any]:
    """The committed result of the benchmark.

    Raises:
        FileNotFoundError: it has not been run.
        ValueError: the file is not JSON, or of another format, or parts of it are missing.
    """
    path = Path(path or study_root() / RESULT)
    if not path.exists():
        raise FileNotFoundError(f"libraries: {path.name} is missing; run `{COMMAND}`.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"libraries: {path.name} is not JSON; run `{COMMAND}` again.") from error
    told = found.get("format") if isinstance(found, dict) else None
    if told != FORMAT:
        raise ValueError(
            f"libraries: {path.name} has format {told}, this version reads {FORMAT}; "
            f"run `{COMMAND}` again."
        )
    if missing := [name for name in NEEDED if not found.get(name)]:
        raise ValueError(
            f"libraries: {path.name} lacks {', '.join(missing)}; run `{COMMAND}` again."
        )
    return found


def frame(found: dict[str, Any]) -> pd.DataFrame:
    """One row a measured method, those of one kind together and ours first.

    Columns: `method, what, by, kind, ours`; `ggn, ggn_low, ggn_high` and `hessian, ...` (Pearson's
    r with the dense oracle over all pairs, mean over models, 95 % t interval); for each of
    `LIBRARY_METRICS` `lds_<metric>` with `_low`, `_high` (95 % jackknife) and `_ceiling`;
    `seconds` (median of one model's scores) and `ratio` to our method of the same kind.
    """
    rows = [row for row in found["rows"] if row["status"] == "measured"]
    kinds = [row["method"] for row in rows if row["library"] is None]
    rows.sort(key=lambda row: (kinds.index(row["ours"]), row["library"] is not None))
    return pd.DataFrame([_flat(row) for row in rows])


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    own = row["library"] is None
    by = "this study" if own else f"{_NAMES.get(row['library'], row['library'])} {row['version']}"
    flat = {"method": row["method"], "what": row["what"], "by": by}
    flat |= {"kind": row["ours"], "ours": own}
    for kind in ("ggn", "hessian"):
        r = row["oracle"][kind]["pearson"]
        flat |= {kind: r["estimate"], f"{kind}_low": r["low"], f"{kind}_high": r["high"]}
    for metric in LIBRARY_METRICS:
        score, name = row["lds"][metric], f"lds_{metric.lower()}"
        flat |= {name: score["lds"], f"{name}_low": score["low"], f"{name}_high": score["high"]}
        flat[f"{name}_ceiling"] = score["ceiling"]
    return flat | {"seconds": row["seconds"]["median"], "ratio": row["ratio"]}


def library_table(found: dict[str, Any]) -> pd.DataFrame:
    """The numbers of `frame`, ready to be read."""
    rows = frame(found)

    scores = {f"LDS, {metric}": f"lds_{metric.lower()}" for metric in LIBRARY_METRICS}
    correlations = {"r with the exact GGN": "ggn", "r with the Hessian": "hessian"}
    columns = {
        head: (name, f"{name}_low", f"{name}_high")
        for head, name in (correlations | scores).items()
    }
    shown = readable(rows, {"what": "what", "by": "by", **columns}, digits=2)
    for head, name in scores.items():
        shown[head] += [f" of {ceiling:.2f}" for ceiling in rows[f"{name}_ceiling"]]
    shown["milliseconds"] = [_digits(1e3 * value) for value in rows["seconds"]]
    times = zip(rows["ours"], rows["ratio"])
    return shown.assign(**{"time over ours": ["1" if own else _digits(x) for own, x in times]})


def _digits(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def library_dots(found: dict[str, Any]) -> Drawn:
    """LDS of mean and W2, agreement with the exact GGN, and time; filled marks are ours."""
    rows = frame(found)
    panels = {
        "lds_mean": "LDS of\nthe mean",
        "lds_w2": "LDS of the\nlaw (W2)",
        "ggn": "r with the\nexact GGN",
        "seconds": "milliseconds\n(log scale)",
    }
    fig, axes = plt.subplots(1, 4, sharey=True, figsize=(TEXT_WIDTH, 0.7 + 0.19 * len(rows)))
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        for level, row in enumerate(rows.to_dict("records")):
            style = METHODS[row["kind"]]
            looks = {"mfc": style.colour if row["ours"] else "white", "ms": 4.5}
            if name == "seconds":
                looks |= {"color": style.colour, "marker": style.marker, "ls": ""}
                axis.plot(1e3 * row[name], level, **looks)
                continue
            looks |= {"lw": 0.8, "capsize": 0}
            intervals(axis, row, level, style, value=name, across=True, **looks)
            if ceiling := row.get(f"{name}_ceiling"):
                axis.plot(ceiling, level, marker="|", color="0.4", ms=7, ls="")
        axis.set_xlabel(title)
        axis.margins(x=0.12)
        if name != "seconds":
            axis.set_xlim(right=1.08)
        axis.grid(axis="y", color="0.92", lw=0.6)
        axis.set_axisbelow(True)
    axes[-1].set_xscale("log")
    axes[0].set_yticks(range(len(rows)), [f"{row.what}  ({row.by})" for row in rows.itertuples()])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    return fig, rows


def setting_words(found: dict[str, Any]) -> Markdown:
    """What was compared: task, network, damping, numbers of models, subsets and seeds, machine."""
    s, machine, versions = found["settings"], found["machine"], found["versions"]
    lowest = found["models"]["lowest_curvature"]["median"]
    bent = (
        f"The exact Hessian of their objective is indefinite (median of the lowest eigenvalue "
        f"{lowest:.3g}), beyond what the damping lifts, so its inverse is no influence to rely on."
        if lowest + s["damping"] - s["l2"] < 0
        else "With the damping the exact Hessian of their objective is positive."
    )
    return Markdown(
        f"{s['models']} networks with layers of {', '.join(map(str, s['widths']))} units "
        f"({s['activation']}, {s['parameters']:,} parameters) trained on {s['train']} digits "
        f"({s['task']}) with {s['queries']} queries. Every method adds {s['damping']:g} to its "
        f"curvature, the L2 term of {s['l2']:g} included. LDS: {s['subsets']} subsets with "
        f"{s['left_out']} points left out, each retrained with {s['truth_seeds']} other seeds. "
        f"{bent} Time: the scores of all pairs at one model on one thread, median of "
        f"{s['rounds']} calls ({machine['processor']}, torch {versions['torch']})."
    )


def lead_words(found: dict[str, Any]) -> Markdown:
    """Whose EK-FAC is nearest to the exact matrix, and what time costs."""
    rows = frame(found)
    theirs = rows[~rows["ours"]]
    fastest, slowest = (theirs.loc[theirs["ratio"].agg(f)] for f in ("idxmin", "idxmax"))
    faster = int((theirs["ratio"] > 1).sum())
    time = (
        f"Of {len(theirs)} methods of libraries {faster} take longer than ours of the same kind, "
        f"from {fastest['ratio']:.2g} ({fastest['by']}) to {slowest['ratio']:.3g} times as long "
        f"({slowest['by']}, {slowest['what']}). On a network this small fixed costs weigh "
        "most, which would not grow with it."
    )
    return bullets([_lead(found["lead"]["EK-FAC"], rows), time])


def _lead(lead: dict[str, Any], rows: pd.DataFrame) -> str:
    by = rows.set_index("method").loc[lead["best"], "by"]
    told = f"{lead['estimate']:+.2g} [{lead['low']:+.2g}, {lead['high']:+.2g}]"
    if lead["low"] > lead["margin"]:
        verdict = "nearer to"
    elif lead["high"] < -lead["margin"]:
        verdict = "further from"
    elif lead["low"] > -lead["margin"]:
        verdict = "as near to"
    else:
        verdict = "not shown to be as near to"
    return (
        f"Our EK-FAC is {verdict} the exact GGN {'than' if 'er' in verdict else 'as'} the best "
        f"library's ({by}): difference of r {told}, where {lead['margin']:g} counts as equal."
    )


def at_least_as_near(found: dict[str, Any]) -> bool:
    """Whether our EK-FAC's r with the exact GGN is at least the best library's, within a margin."""
    lead = found["lead"]["EK-FAC"]
    return lead["low"] > -lead["margin"]
