"""Figures: the same bytes each time, data compared by tolerance, and a gallery that matches."""

import hashlib
import json
import os
import shlex
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("agg")

import matplotlib.pyplot as plt

from dtda_lib.study import command_line, figures
from dtda_lib.study.evidence import DUE
from dtda_lib.study.figures import (
    TEXT_WIDTH,
    Exporter,
    FigureMismatch,
    compare_csv,
    use_style,
)
from dtda_lib.study.methods import METHODS
from dtda_lib.study.pages.gallery import SHOWN_PROFILES
from dtda_lib.study.pages.results import descriptions
from dtda_lib.study.settings import parameters_of, resolve

ROOT = Path(__file__).parents[2]
CAPTION = "Influence against noise. Bars are 95 % intervals over seeds, 2Φ(−|μ/σ|)."
STEM = "01_noise_vs_influence-snr"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("DTDA_CHECK", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    with mpl.rc_context():
        yield
    plt.close("all")


def config(profile="default", name=None, overridden=()):
    return SimpleNamespace(
        notebook="01_noise_vs_influence",
        profile=profile,
        name=name or profile,
        parameters={"sizes": (10, 20), "n_seeds": 10},
        hash="abc123",
        overridden=overridden,
        device="cpu",
    )


def drawn():
    shift = np.array([0.1, 0.25, -1e-4])
    return pd.DataFrame(
        {"method": ["loo", "ats_sgd", "null"], "n": [10, 10, 12000], "shift": shift}
    )


def draw(data):
    use_style()
    fig, ax = plt.subplots()
    for row in data.itertuples():
        ax.errorbar(row.n, row.shift, yerr=0.1, **METHODS[row.method].line)
    ax.set(xlabel="runs", ylabel="shift σ")
    ax.legend()
    return fig


def export(root, data=None, name="snr", caption=CAPTION, profile="default", **options):
    data = drawn() if data is None else data
    exporter = Exporter(config(profile), root)
    return exporter(draw(drawn()), name, data=data, caption=caption, **options)


def test_an_export_has_all_four_files_and_their_facts(tmp_path, capsys):
    shown = export(tmp_path, claims=("B1",))
    folder = tmp_path / "figures" / "default"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{STEM}.{kind}" for kind in ("csv", "json", "pdf", "png")
    ]
    table = (folder / f"{STEM}.csv").read_bytes()
    assert table == b"method,n,shift\nloo,10,0.1\nats_sgd,10,0.25\nnull,12000,-0.0001\n"
    assert json.loads((folder / f"{STEM}.json").read_text()) == {
        "figure": "snr",
        "caption": CAPTION,
        "claims": ["B1"],
        "notebook": "01_noise_vs_influence",
        "profile": "default",
        "parameters": {"sizes": [10, 20], "n_seeds": 10},
        "spec_hash": "abc123",
        "csv_sha256": hashlib.sha256(table).hexdigest(),
        "command": "./run_all.sh --profile default 01 --force",
    }
    assert shown.data == f"**Figure snr.** {CAPTION}"
    assert capsys.readouterr().out == ""  # a figure speaks for itself; a mismatch is an error
    assert not plt.get_fignums()  # else the inline backend would show it a second time


def test_overridden_parameters_are_in_the_command():
    cfg = config(name="custom-1", overridden=("sizes",))
    told = "./run_all.sh --profile default 01 --force -p sizes=10,20"
    assert figures.command(cfg) == told


@pytest.mark.parametrize("changed", [{"sizes": (10, 50)}, {"sizes": (50,), "n_seeds": 4}])
def test_the_command_gives_back_the_settings(changed):
    parameters = parameters_of("01_noise_vs_influence")
    cfg = resolve(parameters, profile="smoke", device="cpu", **changed)
    args = command_line.read_arguments(shlex.split(figures.command(cfg))[1:], ROOT)
    (notebook,) = args.notebooks
    again = resolve(parameters, profile=args.profile, device="cpu", **args.parameters)
    assert (again.hash, again.name, notebook.stem) == (cfg.hash, cfg.name, cfg.notebook)


def test_the_same_figure_gives_the_same_bytes_on_any_day(tmp_path, monkeypatch):
    export(tmp_path / "a")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1893456000")
    export(tmp_path / "b")
    assert os.environ["SOURCE_DATE_EPOCH"] == "1893456000"
    for kind in ("pdf", "png", "csv", "json"):
        first, second = (
            (tmp_path / side / "figures" / "default" / f"{STEM}.{kind}").read_bytes()
            for side in "ab"
        )
        assert first == second, kind
    pdf = (tmp_path / "a" / "figures" / "default" / f"{STEM}.pdf").read_bytes()
    assert b"CreationDate" not in pdf
    assert mpl.__version__.encode() not in pdf
    assert b"/Type3" not in pdf  # fonts are embedded as type 42


def test_png_is_at_final_size(tmp_path):
    export(tmp_path)
    height, width, _ = plt.imread(tmp_path / "figures" / "default" / f"{STEM}.png").shape
    assert (width, height) == (round(300 * TEXT_WIDTH), 720)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "SNR plot"}, "lower-case"),
        ({"name": ""}, "lower-case"),
        ({"caption": "  "}, "caption is missing"),
        ({"data": drawn().iloc[:0]}, "empty"),
    ],
)
def test_exports_refuse(tmp_path, change, told):
    with pytest.raises(ValueError, match=told):
        export(tmp_path, **change)
    assert not (tmp_path / "figures").exists()


def test_a_named_index_is_part_of_the_data(tmp_path):
    export(tmp_path, drawn().set_index("method"))
    text = (tmp_path / "figures" / "default" / f"{STEM}.csv").read_text()
    assert text.startswith("method,n,shift\nloo,10,0.1\n")


class TestChecking:
    @pytest.fixture(autouse=True)
    def committed(self, drawn_study, tmp_path, monkeypatch, plain_environment):
        shutil.copytree(drawn_study, tmp_path, dirs_exist_ok=True)
        self.root, self.folder = tmp_path, tmp_path / "figures" / "default"
        self.before = {path: path.read_bytes() for path in self.folder.iterdir()}
        monkeypatch.setenv("DTDA_CHECK", "1")
        yield
        assert {path: path.read_bytes() for path in self.folder.iterdir()} == self.before

    @pytest.mark.parametrize("factor", [1, 1.0005, 0.9995])
    def test_jitter_is_green(self, factor, capsys):
        capsys.readouterr()
        assert export(self.root, drawn().assign(shift=lambda d: d["shift"] * factor)) is not None
        assert capsys.readouterr().out == ""

    def test_tolerances_can_be_given(self):
        near = drawn().assign(shift=lambda d: d["shift"] * 1.05)
        with pytest.raises(FigureMismatch):
            export(self.root, near)
        export(self.root, near, rtol=0.1)
        export(self.root, near, atol=0.1)

    def test_ends_of_intervals_may_have_a_tolerance_of_their_own(self):
        def told(shift=1.0, low=1.0, high=1.0):
            with_ends = drawn().assign(low=drawn()["shift"] - 1, high=drawn()["shift"] + 1)
            return with_ends.assign(
                shift=with_ends["shift"] * shift,
                low=with_ends["low"] * low,
                high=with_ends["high"] * high,
            )

        compare = partial(compare_csv, self.folder / "ends.csv", name="ends")
        self.before[self.folder / "ends.csv"] = told().to_csv(index=False).encode()
        (self.folder / "ends.csv").write_bytes(self.before[self.folder / "ends.csv"])
        compare(told(low=1.05, high=0.95), ends_rtol=0.1)
        for data in (told(low=1.2), told(high=1.2), told(shift=1.05)):
            with pytest.raises(FigureMismatch):
                compare(data, ends_rtol=0.1)
        with pytest.raises(FigureMismatch, match="'low'"):
            compare(told(low=1.05))

    @pytest.mark.parametrize(
        ("column", "row", "value", "told"),
        [
            ("shift", 1, 0.2525, "'shift', row 1: committed 0.25, obtained 0.2525 (1 of 3"),
            ("shift", 0, np.nan, "'shift', row 0: committed 0.1, obtained  "),
            ("shift", 2, 1e-4, "'shift', row 2: committed -0.0001, obtained 0.0001"),
            ("n", 2, 12001, "'n', row 2: committed 12000, obtained 12001"),
            ("method", 0, "ats_sgd", "'method', row 0: committed loo, obtained ats_sgd"),
        ],
    )
    def test_a_difference_is_named(self, column, row, value, told):
        data = drawn()
        data.loc[row, column] = value
        with pytest.raises(FigureMismatch) as caught:
            export(self.root, data)
        assert told in str(caught.value)

    def test_shape_and_columns_are_exact(self):
        with pytest.raises(FigureMismatch, match="rows differ: committed 3, obtained 2"):
            export(self.root, drawn().iloc[:2])
        with pytest.raises(FigureMismatch, match="columns differ"):
            export(self.root, drawn().rename(columns={"shift": "response"}))

    def test_missing_data_fail(self):
        with pytest.raises(FigureMismatch, match="missing"):
            export(self.root, name="other")


@pytest.fixture(scope="module")
def drawn_study(tmp_path_factory):
    """A root with an exported figure; not to be changed."""
    root = tmp_path_factory.mktemp("study")
    with mpl.rc_context():
        export(root, claims=("B1", "B2"))
    return root


# --- what is committed ---------------------------------------------------------------------------

COMMITTED = [
    path for profile in SHOWN_PROFILES for path in descriptions(ROOT / "figures" / profile)
]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_figures_are_whole(path):
    described = json.loads(path.read_text(encoding="utf-8"))
    table = path.with_suffix(".csv").read_bytes()
    assert described["csv_sha256"] == hashlib.sha256(table).hexdigest()
    assert path.with_suffix(".pdf").exists()
    assert path.with_suffix(".png").exists()
    assert path.stem == f"{described['notebook']}-{described['figure']}"
    assert described["profile"] == path.parent.name


@pytest.mark.parametrize("profile", SHOWN_PROFILES)
def test_no_figure_file_is_left_over(profile):
    folder = ROOT / "figures" / profile
    stems = {path.stem for path in descriptions(folder)}
    others = {
        path.name
        for path in folder.glob("[!.]*")
        if path.stem not in stems and not path.name.endswith((".claims.json", DUE.name))
    }
    assert not others


# --- what many figures draw -----------------------------------------------------------------------


@pytest.mark.parametrize("across", [True, False])
def test_intervals_reach_from_low_to_high_and_never_inwards(across):
    rows = pd.DataFrame({"r": [0.1, 0.5], "r_low": [0.0, 0.6], "r_high": [0.4, 0.7]})
    fig, axis = plt.subplots()
    figures.intervals(axis, rows, [3, 4], METHODS["loo"], value="r", across=across, scale=100)
    line, _, (bars,) = axis.containers[0]
    xy = np.column_stack([np.array(line.get_xdata()), np.array(line.get_ydata())])
    np.testing.assert_allclose(xy if across else xy[:, ::-1], [[10, 3], [50, 4]])
    ends = np.array(bars.get_segments()[0])[:, 0 if across else 1]
    np.testing.assert_allclose(ends, [0, 40])
    assert (line.get_color(), line.get_marker()) == ("#000000", "o")
    inwards = np.array(bars.get_segments()[1])[:, 0 if across else 1]
    assert inwards[0] == 50  # its low end lies above it
    plt.close(fig)


def test_rows_are_named_from_above_and_a_legend_ends_with_marks():
    fig, axis = plt.subplots()
    axis.plot([0, 1], [0, 1], label="series")
    figures.named_rows(axis, ["first", "second"])
    assert axis.get_ylim()[0] > axis.get_ylim()[1]
    figures.legend_above(fig, axis, {"chance": {"ls": ":"}, "mark": {"marker": "o"}})
    texts = [text.get_text() for text in fig.legends[0].get_texts()]
    assert texts == ["series", "chance", "mark"]
    assert [line.get_linestyle() for line in fig.legends[0].get_lines()] == ["-", ":", "None"]
    plt.close(fig)


def test_series_side_by_side_keep_their_middle():
    np.testing.assert_allclose(figures.side_by_side(3, 0.2), [-0.2, 0, 0.2])
    np.testing.assert_allclose(figures.side_by_side(2, 0.2), [-0.1, 0.1])
