"""The checker is checked: a doctored number must turn it red, and jitter must not."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dtda_lib.study.artefacts import is_sealed, sealed
from dtda_lib.study.checks import CheckFailed, Checks
from dtda_lib.study.claims import (
    STATUSES,
    Claim,
    above,
    below,
    between,
    claims_table,
    combine,
    decide,
    decide_interval,
    interval_rule,
)
from dtda_lib.study.tolerant import (
    NUMBER,
    same_number,
    skeleton,
    snap_outputs,
    snap_text,
    to_float,
    tolerances,
)


def config(profile="default", name=None, overridden=()):
    return SimpleNamespace(
        notebook="01_noise_vs_influence",
        profile=profile,
        name=name or profile,
        parameters={"n_seeds": 10},
        hash="abc123",
        overridden=overridden,
        device="cpu",
    )


def claim(name="B1", status="confirmed", **changed):
    fields = {
        "claim": "noise exceeds influence",
        "source": "the paper's abstract",
        "statistic": "fraction of significant pairs",
        "estimate": 0.1,
        "ci": (0.05, 0.2),
        "n": 10,
        "setting": "mnist3",
        "estimand": "the law",
        "rule": "confirmed if below a half",
    }
    return Claim(id=name, status=status, **{**fields, **changed})


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("DTDA_CHECK", "DTDA_BLESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make(tmp_path):
    """A notebook's check cell as a function of what the notebook obtained."""

    def build(values=None, claims=(), **cfg):
        checks = Checks(config(**cfg), tmp_path / "reference", tmp_path / "figures")
        for name, (got, tolerance) in (values or {}).items():
            checks.value(name, got, **tolerance)
        for one in claims:
            checks.claim(one)
        return checks

    return build


@pytest.fixture
def bless(make, monkeypatch):
    def run(values=None, claims=(), **cfg):
        with monkeypatch.context() as patch:
            patch.setenv("DTDA_BLESS", "1")
            make(values, claims, **cfg).report()

    return run


VALUES = {
    "snr": (0.5, {"rtol": 0.01}),
    "n": (50, {}),
    "method": ("grad_dot", {}),
    "converged": (True, {}),
}


def changed(name, got):
    return {**VALUES, name: (got, VALUES[name][1])}


def test_agreement_is_green_and_prints_only_the_reference(make, bless, capsys):
    bless(VALUES, [claim()])
    blessed = capsys.readouterr().out
    checks = make(changed("snr", 0.5049), [claim()])
    checks.report()
    assert capsys.readouterr().out == blessed
    assert blessed == "5 of 5 values and claims agree with the reference (default)\n"
    assert (checks.passed, checks.total) == (5, 5)
    assert [one.id for one in checks.claims] == ["B1"]


def test_what_was_compared_is_folded_and_constant_while_it_agrees(make, bless, monkeypatch):
    shown = []
    monkeypatch.setattr("dtda_lib.study.checks.get_ipython", lambda: True)
    monkeypatch.setattr("dtda_lib.study.checks.display", shown.append)
    bless(VALUES, [claim()])
    make(changed("snr", 0.5049), [claim()]).report()
    blessed, again = (one.data for one in shown)
    assert again == blessed
    assert blessed.startswith("<details>")
    for name, band in [("snr", "0.5 ± 0.005"), ("n", "exactly 50"), ("claim B1", "confirmed")]:
        assert f"<tr><td>{name}</td><td>{band}</td></tr>" in blessed
    with pytest.raises(CheckFailed):
        make({**VALUES, "new": (1, {})}, [claim()]).report()
    assert shown[-1].data != blessed  # a value more or less is seen by nbval, too


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("snr", 0.506),
        ("snr", math.nan),
        ("snr", math.inf),
        ("n", 51),
        ("n", 50.0),
        ("method", "grad_cos"),
        ("converged", False),
        ("converged", 1),
    ],
)
def test_each_change_is_red(make, bless, name, got):
    bless(VALUES)
    values = changed(name, got)
    if name == "n" and isinstance(got, float):
        values[name] = (got, {"rtol": 0.0, "atol": 0.0})
    checks = make(values)
    with pytest.raises(CheckFailed, match=f"{name}: got .*{got!r}, expected"):
        checks.report()
    assert (checks.passed, checks.total) == (3, 4)


def test_a_doctored_reference_is_red(make, bless, tmp_path):
    bless(VALUES)
    path = tmp_path / "reference" / "01_noise_vs_influence.json"
    document = json.loads(path.read_text())
    document["default"]["values"]["snr"]["value"] *= 1.1
    path.write_text(json.dumps(document))
    with pytest.raises(CheckFailed, match=r"snr: got 0\.5, expected 0\.55 ± 0\.0055"):
        make(VALUES).report()


def test_every_failure_is_named(make, bless):
    bless(VALUES, [claim()])
    with pytest.raises(CheckFailed) as caught:
        make(changed("n", 51) | {"snr": (9.0, {"rtol": 0.01})}, [claim(status="refuted")]).report()
    message = str(caught.value)
    assert message.startswith("3 of 5 checks failed:")
    assert all(name in message for name in ("snr: got 9.0", "n: got 51", "claim B1: got refuted"))


def test_without_reference_default_fails(make, bless):
    bless(VALUES, profile="paper")  # another profile's block is no reference for this one
    with pytest.raises(CheckFailed, match="NO REFERENCE: snr"):
        make(VALUES).report()


def test_a_value_without_reference_fails_at_any_profile(make, bless):
    bless({"n": (50, {})}, profile="paper")
    with pytest.raises(CheckFailed, match="NO REFERENCE: snr"):
        make(VALUES, profile="paper").report()


def test_another_profile_that_was_never_blessed_is_told_and_not_compared(make, bless, capsys):
    bless(VALUES)
    capsys.readouterr()
    checks = make(VALUES, [claim()], profile="paper")
    checks.report()
    told = "not compared: profile paper has no reference values yet"
    assert capsys.readouterr().out.splitlines() == [told]
    assert (checks.passed, checks.total) == (0, 0)


def test_what_is_no_longer_computed_fails(make, bless):
    bless(VALUES, [claim()])
    fewer = {name: value for name, value in VALUES.items() if name != "snr"}
    with pytest.raises(CheckFailed, match="2 of 5") as caught:
        make(fewer).report()
    assert "snr: got nothing" in str(caught.value)
    assert "claim B1: got nothing" in str(caught.value)


def test_a_part_that_was_not_run_is_not_missed(make, bless, monkeypatch):
    part = {"cifar10 loo": (0.3, {"atol": 0.02})}
    bless(VALUES | part, [claim(), claim("B1-cifar10-t")])
    with pytest.raises(CheckFailed, match="2 of 7"):
        make(VALUES, [claim()]).report()
    without = make(VALUES, [claim()])
    without.not_run("cifar10")
    without.report()
    assert (without.passed, without.total) == (5, 5)
    monkeypatch.setenv("DTDA_BLESS", "1")  # what was not run keeps its references
    without.report()
    monkeypatch.delenv("DTDA_BLESS")
    make(VALUES | part, [claim(), claim("B1-cifar10-t")]).report()
    fewer = make(part)
    fewer.not_run("cifar10")
    with pytest.raises(CheckFailed, match="snr: got nothing"):
        fewer.report()


def test_claims_of_a_part_that_was_not_run_stay_on_record(make, bless, monkeypatch, tmp_path):
    bless(VALUES, [claim(), claim("B1-cifar10-t"), claim("B3")])
    (path,) = tmp_path.rglob("*.claims.json")
    without = make(VALUES, [claim()])
    without.not_run("cifar10")
    monkeypatch.setenv("DTDA_BLESS", "1")
    without.report()
    kept = [one["id"] for one in json.loads(path.read_text())["claims"]]
    assert kept == ["B1", "B1-cifar10-t"]  # what is no longer stated goes


def test_a_tolerance_cannot_be_widened_in_the_notebook_alone(make, bless):
    bless({"snr": (0.5, {"rtol": 0.01})})
    with pytest.raises(CheckFailed, match=r"got rtol 0\.5"):
        make({"snr": (0.5, {"rtol": 0.5})}).report()


NUMBERS = "share 0.25, p = 0.030, 82 % [79, 84] of 20 pairs"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"estimate": 0.11}, "estimate"),
        ({"estimate": None}, "estimate"),
        ({"ci": (0.05, 0.21)}, "ci"),
        ({"ci": None}, "ci"),
        ({"n": 11}, "n"),
        ({"status": "refuted"}, "refuted"),
        ({"setting": "mnist10"}, "setting"),
        ({"statistic": NUMBERS.replace("0.25", "0.28")}, "statistic"),
        ({"statistic": NUMBERS.replace("82", "85")}, "statistic"),
        ({"statistic": NUMBERS.replace("20 pairs", "21 pairs")}, "statistic"),
        ({"paper_value": 0.9}, "paper_value"),
    ],
)
def test_a_claim_is_compared_with_its_file(make, bless, monkeypatch, changed, told):
    bless({}, [claim(statistic=NUMBERS)])
    monkeypatch.setenv("DTDA_CHECK", "1")
    make({}, [claim(statistic=NUMBERS)]).report()
    with pytest.raises(CheckFailed, match=f"claim B1: got {told}|claim B1: got .*{told}"):
        make({}, [claim(**{"statistic": NUMBERS} | changed)]).report()


def test_a_claim_may_move_by_jitter(make, bless, monkeypatch):
    bless({}, [claim(statistic=NUMBERS, paper_value=0.9)])
    monkeypatch.setenv("DTDA_CHECK", "1")
    near = {"estimate": 0.1004, "ci": (0.0503, 0.1994), "paper_value": 0.9}
    moved = NUMBERS.replace("0.25", "0.26").replace("82 %", "83 %").replace("84]", "85]")
    make({}, [claim(statistic=moved, **near)]).report()


def test_what_rounding_decides_is_written_as_zero(make, bless, tmp_path):
    noisy = {"error": (3.28e-14, {"atol": 1e-9}), "share": (0.1 + 1e-17, {"atol": 0.01})}
    bless(noisy, [claim(estimate=3.28e-14, ci=(-1e-15, 0.5))])
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    again = {"error": (3.41e-14, {"atol": 1e-9}), "share": (0.1 - 1e-16, {"atol": 0.01})}
    bless(again, [claim(estimate=3.41e-14, ci=(1e-15, 0.5 + 1e-15))])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == files
    (reference,) = (json.loads(files[path]) for path in files if path.parent.name == "reference")
    values = reference["default"]["values"]
    assert (values["error"]["value"], values["share"]["value"]) == (0.0, 0.1)


def test_a_small_value_with_a_smaller_band_is_no_noise(bless, tmp_path):
    bless({"F": (1.77998e-6, {"rtol": 1e-4, "atol": 1e-10})})
    (path,) = (tmp_path / "reference").glob("*.json")
    assert json.loads(path.read_text())["default"]["values"]["F"]["value"] == 1.77998e-6


def test_custom_parameters_are_not_compared(make, bless, capsys, tmp_path):
    bless({}, name="custom-1", overridden=("n_seeds",))
    checks = make({"snr": (99.0, {})}, name="custom-1", overridden=("n_seeds",))
    checks.report()
    told = "not compared: parameters differ from profile default (n_seeds)"
    assert capsys.readouterr().out.splitlines() == [told, told]
    assert not (tmp_path / "reference").exists()
    assert (checks.passed, checks.total) == (0, 0)


def test_a_seal_breaks_with_any_entry():
    content = json.loads(json.dumps(sealed({"claims": [{"estimate": 0.1}], "sizes": (10, 20)})))
    assert is_sealed(content)
    assert not is_sealed({**content, "more": 1})
    assert not is_sealed({"claims": content["claims"]})
    content["claims"][0]["estimate"] = 0.1001
    assert not is_sealed(content)


def test_blessing_leaves_other_profiles_alone(bless, tmp_path):
    bless(VALUES)
    bless({"snr": (0.9, {"atol": 0.1})}, [claim()], profile="paper")
    path = tmp_path / "reference" / "01_noise_vs_influence.json"
    document = json.loads(path.read_text())
    assert set(document["default"]["values"]) == set(VALUES)
    assert document["paper"] == {
        "values": {"snr": {"value": 0.9, "rtol": 0.0, "atol": 0.1}},
        "claims": {"B1": "confirmed"},
    }
    assert path.read_text() == json.dumps(document, indent=2, sort_keys=True) + "\n"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_only_finite_values_are_blessed(bless, tmp_path):
    bless(VALUES)
    before = (tmp_path / "reference" / "01_noise_vs_influence.json").read_bytes()
    with pytest.raises(ValueError, match="only finite values"):
        bless(changed("snr", math.nan))
    assert (tmp_path / "reference" / "01_noise_vs_influence.json").read_bytes() == before


def test_checking_writes_nothing_and_excludes_blessing(make, bless, monkeypatch, tmp_path):
    bless(VALUES, [claim()])
    written = tmp_path / "figures" / "default" / "01_noise_vs_influence.claims.json"
    content = json.loads(written.read_text())
    assert content["claims"][0] == claim().as_dict()
    assert (content["profile"], content["spec_hash"]) == ("default", "abc123")
    assert is_sealed(content)
    before = written.read_bytes()
    monkeypatch.setenv("DTDA_CHECK", "1")
    make(VALUES, [claim(estimate=0.1001)]).report()
    assert written.read_bytes() == before
    written.unlink()
    with pytest.raises(CheckFailed, match="NO REFERENCE: claim B1"):
        make(VALUES, [claim()]).report()
    assert not written.exists()
    with pytest.raises(ValueError, match="exclude each other"):
        bless(VALUES, [claim()])


@given(got=st.floats(allow_nan=False, allow_infinity=False, width=32), rtol=st.floats(1e-6, 0.1))
def test_the_band_is_the_stated_one(got, rtol):
    from dtda_lib.study.checks import Expected

    assume(abs(got) > 1e-30)
    expected = Expected(got, rtol=rtol)
    assert expected.accepts(got * (1 + 0.9 * rtol))
    assert not expected.accepts(got * (1 + 1.1 * rtol))


def test_values_come_from_numpy_too_but_only_scalars(make):
    checks = make({"a": (np.float64(1.5), {}), "b": (np.int64(3), {}), "c": (np.bool_(True), {})})
    assert [type(one.value) for one in checks._values.values()] == [float, int, bool]
    with pytest.raises(TypeError, match="no number"):
        checks.value("d", [1.0])
    with pytest.raises(TypeError, match="makes no sense"):
        checks.value("e", "text", rtol=0.1)
    with pytest.raises(ValueError, match="checked twice"):
        checks.value("a", 1.5)
    checks.claim(claim())
    with pytest.raises(ValueError, match="stated twice"):
        checks.claim(claim())


# --- statuses ------------------------------------------------------------------------------------


def test_rules_decide():
    assert decide(confirmed=True, refuted=False, partly=True) == "confirmed"
    assert decide(confirmed=False, refuted=True) == "refuted"
    assert decide(confirmed=False, refuted=False, partly=True) == "partly"
    assert decide(confirmed=False, refuted=False) == "inconclusive"
    assert decide(confirmed=True, refuted=False, tested=False) == "not tested"
    with pytest.raises(ValueError, match="contradict"):
        decide(confirmed=True, refuted=True)


@pytest.mark.parametrize(
    ("ci", "status"),
    [
        ((0.1, 0.4), "confirmed"),
        ((-0.4, -0.1), "refuted"),
        ((-0.1, 0.4), "inconclusive"),
        ((0.0, 0.4), "inconclusive"),
        ((math.nan, 0.4), "inconclusive"),
        ((0.1, math.inf), "inconclusive"),
        (None, "not tested"),
    ],
)
def test_intervals_decide(ci, status):
    assert decide_interval(ci, confirmed_if=above(0)) == status
    assert decide_interval(ci, confirmed_if=above(0), refuted_if=below(0)) == status


def test_interval_rules_can_leave_a_gap_but_not_overlap():
    rule = {"confirmed_if": above(0.8), "refuted_if": below(0.2)}
    assert decide_interval((0.3, 0.4), **rule) == "inconclusive"
    assert decide_interval((0.1, 0.15), **rule) == "refuted"
    assert decide_interval((0.05, 0.2), confirmed_if=between(0, 1)) == "confirmed"
    with pytest.raises(ValueError, match="overlap"):
        decide_interval((0, 1), confirmed_if=above(0.2), refuted_if=below(0.8))
    assert "lies above 0.8, refuted if it lies below 0.2" in interval_rule(**rule)


def test_a_margin_of_no_effect_refutes():
    rule = {"confirmed_if": above(0.02), "refuted_if": below(-0.02), "margin": between(-0.02, 0.02)}
    assert decide_interval((0.004, 0.006), **rule) == "refuted"
    assert decide_interval((-0.3, -0.1), **rule) == "refuted"
    assert decide_interval((-0.03, 0.01), **rule) == "inconclusive"
    assert decide_interval((0.01, 0.03), **rule) == "inconclusive"
    assert decide_interval((0.03, 0.04), **rule) == "confirmed"
    assert decide_interval((0.004, 0.006), confirmed_if=between(-0.02, 0.02)) == "confirmed"
    told = "refuted if it lies below -0.02 or in -0.02 to 0.02 (no relevant effect), else"
    assert told in interval_rule(**rule)
    with pytest.raises(ValueError, match="overlap"):
        decide_interval((0, 1), confirmed_if=above(0), margin=between(-0.1, 0.1))


ROW = {"share": 0.1, "low": 0.05, "high": 0.2, "n_pairs": 30}
TEXT = {
    "id": "X",
    "claim": "noise exceeds influence",
    "source": "here",
    "statistic": "share",
    "setting": "toy",
    "estimand": "law",
}


def test_a_claim_is_read_off_a_row():
    one = Claim.from_row(ROW, confirmed_if=below(0.5), value="share", count="n_pairs", **TEXT)
    assert (one.status, one.estimate, one.ci, one.n) == ("confirmed", 0.1, (0.05, 0.2), 30)
    assert one.rule == interval_rule(below(0.5))
    ruled = Claim.from_row(
        ROW, confirmed_if=above(0.5), value="share", count="n_pairs", rule="at every size", **TEXT
    )
    assert ruled.status == "refuted"
    assert ruled.rule == f"{interval_rule(above(0.5))}; at every size"


def test_a_row_gives_the_numbers_of_a_claim_that_another_rule_decides():
    row = ROW | {"gap": 0.3, "gap_low": 0.2, "gap_high": 0.4}
    one = Claim.from_row(row, status="partly", rule="by hand", value="gap", count=7, **TEXT)
    assert (one.status, one.rule, one.estimate, one.ci, one.n) == (
        "partly",
        "by hand",
        0.3,
        (0.2, 0.4),
        7,
    )


def test_a_claim_of_several_rows_combines_them_and_shows_the_last():
    rows = pd.DataFrame([ROW, ROW | {"share": 0.7, "low": 0.6, "high": 0.8, "n_pairs": 60}])
    rule = {"confirmed_if": below(0.5), "value": "share", "count": "n_pairs"}
    both = Claim.from_rows(rows, **rule, **TEXT)
    assert (both.status, both.estimate, both.n) == ("partly", 0.7, 60)
    assert Claim.from_rows(rows.iloc[:1], **rule, **TEXT).status == "confirmed"
    with pytest.raises(ValueError, match="X: its table has no row"):
        Claim.from_rows(rows.iloc[:0], **rule, **TEXT)


def test_headlines_are_marked_by_the_table(make):
    checks = make(claims=[claim("B9"), claim("B10-grad_cos-t")])
    told = {one.id: (one.headline, bool(one.needs)) for one in checks.claims}
    assert told == {"B9": (True, True), "B10-grad_cos-t": (False, False)}
    plain = checks.claims[0].as_dict()
    assert plain["headline"] is True
    assert "seeds" in plain["needs"]


@given(ends=st.tuples(st.floats(-2, 2), st.floats(-2, 2)), threshold=st.floats(-2, 2))
def test_opposite_claims_get_opposite_statuses(ends, threshold):
    ci = (min(ends), max(ends))
    opposite = {"confirmed": "refuted", "refuted": "confirmed", "inconclusive": "inconclusive"}
    status = decide_interval(ci, confirmed_if=above(threshold))
    assert decide_interval(ci, confirmed_if=below(threshold)) == opposite[status]


def test_parts_combine():
    assert combine(["confirmed", "confirmed"]) == "confirmed"
    assert combine(["confirmed", "refuted"]) == "partly"
    assert combine(["refuted", "inconclusive"]) == "inconclusive"
    assert combine([]) == "not tested"
    with pytest.raises(ValueError, match="unknown"):
        combine(["yes"])


def test_claims_refuse_nonsense_and_survive_nan():
    with pytest.raises(ValueError, match="none of"):
        claim(status="true")
    with pytest.raises(ValueError, match="reversed"):
        claim(ci=(1.0, 0.0))
    with pytest.raises(ValueError, match="rule"):
        claim(rule="")
    plain = claim(estimate=math.nan, ci=(np.float64(1 / 3), math.inf)).as_dict()
    assert (plain["estimate"], plain["ci"], plain["paper_value"]) == (None, [0.333333, None], None)
    for one in (plain, claim().as_dict(), claim(ci=None, paper_value=".9").as_dict()):
        assert Claim.from_dict(one).as_dict() == one
    assert claim().status in STATUSES


def test_the_table_says_what_is_not_known():
    shown = claims_table([claim(), claim("B2", ci=None, paper_value=0.0)])
    head, _, first, second, *_ = shown.splitlines()
    assert head.startswith("| id | claim | status |")
    assert "[0.05, 0.2]" in first
    assert "the paper" not in first
    assert "[" not in second
    assert "; the paper: 0.0 |" in second  # a paper's zero is a value
    assert "No claims" in claims_table([])


def test_the_table_tells_each_rule_once_and_in_full():
    rules = ["confirmed if | above 0", "refuted if below 1", "confirmed if | above 0"]
    shown = claims_table(claim(f"B{n}", rule=rule) for n, rule in enumerate(rules))
    table, _, told = shown.partition("\n\nThe rules:\n\n")
    assert [line.split("|")[-2].strip() for line in table.splitlines()[2:]] == ["1", "2", "1"]
    assert told.splitlines() == [f"{n}. {rule}" for n, rule in enumerate(rules[:2], start=1)]


# --- tolerant comparison -------------------------------------------------------------------------

FLOATS = st.floats(1e-6, 1e12) | st.floats(-1e12, -1e-6)


@given(value=FLOATS, rtol=st.floats(1e-6, 0.1), share=st.floats(0, 0.9))
@example(value=1e-5, rtol=1e-3, share=0.5)
def test_less_than_the_tolerance_is_green_and_more_is_red(value, rtol, share):
    text = "mean {!r} of 50 models"
    assert snap_text(text.format(value), text.format(value * (1 + share * rtol)), rtol, 0) == (
        text.format(value)
    )
    worse = text.format(value * (1 + 1.1 * rtol))
    assert snap_text(text.format(value), worse, rtol, 0) == worse


@given(number=st.integers(0, 10**6), step=st.integers(1, 9))
def test_integers_are_exact(number, step):
    reference, got = f"{number} models, mean 0.5", f"{number + step} models, mean 0.5"
    assert snap_text(reference, got, 0.1, 0.1) == got


@pytest.mark.parametrize(
    ("reference", "got"),
    [
        ("mean -0.000", "mean 0.000"),
        ("1.0e-05", "9.9999e-06"),
        ("1,234.5 runs", "1,234.6 runs"),
        ("x  0.50 |", "x 0.5001 |"),
        ("<td>0.12345</td>", "<td>0.12346</td>"),
        ("the mean is 0.512.", "the mean is 0.5121."),
        ("[0.5, −1.25)", "[0.5001, -1.2501)"),
        ("nan inf 0.5", "nan inf 0.5001"),
    ],
)
def test_what_is_the_same(reference, got):
    assert snap_text(reference, got, 1e-3, 1e-9) == reference


@pytest.mark.parametrize(
    ("reference", "got"),
    [
        ("mnist3.5 0.5", "mnist3.6 0.5"),
        ("torch 2.13.0", "torch 2.13.1"),
        ("nan", "0.5"),
        ("inf", "-inf"),
        ("1,234 runs", "1,235 runs"),
        ("12e5", "13e5"),
        ("0.5 up", "0.5 down"),
        ("0.5", "-0.5"),
        ("0.5 0.5", "0.5"),
        ("1.0e-05", "1.0e-06"),
        ("2026-11-21", "2026-11-22"),
        ("<td>50</td>", "<td>51</td>"),
        ("1e+999", "1e+998"),
    ],
)
def test_what_is_not_the_same(reference, got):
    assert snap_text(reference, got, 0.5, 1e-9) == got


def test_numbers_are_found_where_they_are():
    text = "mnist3 v2.13.0 x_1 3.5x: 1,234.5 -0.25, 7. 1e-05 0.1-0.2 a1.5 sha 12e5 0x1f"
    assert NUMBER.findall(text) == ["1,234.5", "-0.25", "7", "1e-05", "0.1", "0.2"]
    assert skeleton("a  1.5\n-2") == ["a", "#", "#"]
    assert to_float("−1,234.5") == -1234.5
    assert same_number("2", "2.0") is True


def test_outputs_snap_as_a_whole_or_not_at_all():
    reference = [{"output_type": "stream", "name": "stdout", "text": "a 1.0 at 0xabc123"}]
    got = [{"output_type": "stream", "name": "stdout", "text": "a 1.0001 at 0xdef456"}]
    hide = lambda text: re.sub("0x[0-9a-f]+", "ADDRESS", text)  # noqa: E731
    assert snap_outputs(reference, got, 1e-3, 0, hide)[0]["text"] == "a 1.0 at ADDRESS"
    assert snap_outputs(reference, got, 1e-3, 0)[0]["text"] == got[0]["text"]
    assert snap_outputs(reference, [*got, *got], 1e-3, 0, hide) == [*got, *got]
    table = [{"data": {"text/html": "<b>1.0</b>", "text/plain": "1.0", "image/png": "0.1"}}]
    near = [{"data": {"text/html": "<b>1.0001</b>", "text/plain": "1.0001", "image/png": "0.2"}}]
    assert snap_outputs(table, near, 1e-3)[0]["data"] == table[0]["data"] | {"image/png": "0.2"}
    assert near[0]["data"]["text/plain"] == "1.0001"  # the obtained outputs are left as they were


def test_tags_give_the_tolerance():
    assert tolerances(["nbval-check-output", "rtol=1e-3"]) == (1e-3, 1e-9)
    assert tolerances([]) == (1e-6, 1e-9)
    with pytest.raises(ValueError, match="could not convert"):
        tolerances(["rtol=small"])


def test_sanitizing_never_hides_a_result():
    config_text = (Path(__file__).parents[2] / "notebooks" / "sanitize.cfg").read_text()
    patterns = re.findall(r"^regex: (.*)$\n^replace: (.*)$", config_text, flags=re.MULTILINE)
    assert len(patterns) == config_text.count("regex:")

    def sanitize(text):
        for pattern, replacement in patterns:
            text = re.sub(pattern, replacement, text)
        return text

    results = "mean 0.51 std 0.123\nmin -1.5e-3 max 10 <td>0.5</td> (1,234.5) 50 samples 3 shards"
    assert sanitize(results) == results
    assert "12.3" not in sanitize("took 12.3 s")
    assert sanitize("<Figure at 0x7f00deadbeef>") == "<Figure at ADDRESS>"


ROUNDED_TEXT = "83 % [64, 93] of 0.20 (-0.10 to 3.4) in 577 of 2,000 pairs, 4.3e-09 off"


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("83 %", "84 %", True),
        ("83 %", "85 %", False),
        ("64,", "63,", True),
        ("93]", "95]", False),
        ("0.20", "0.21", True),
        ("0.20", "0.22", False),
        ("3.4)", "3.5)", True),
        ("3.4)", "3.6)", False),
        ("577", "578", False),
        ("2,000", "2,001", False),
        ("4.3e-09", "4.4e-09", True),
        ("pairs", "points", False),
    ],
)
def test_rounded_numbers_may_differ_in_the_last_place_and_counts_may_not(old, new, same):
    got = ROUNDED_TEXT.replace(old, new)
    band = {"rtol": 1e-4, "atol": 1e-12}
    assert (snap_text(ROUNDED_TEXT, got, **band, rounded=True) == ROUNDED_TEXT) == same
    assert snap_text(ROUNDED_TEXT, got, **band) == got  # without the tag nothing is rounded


def test_the_band_of_a_percentage_is_that_of_its_share():
    assert snap_text("83.0 %", "83.3 %", 0, 0.002, rounded=True) == "83.0 %"
    assert snap_text("83.0 %", "83.4 %", 0, 0.002, rounded=True) == "83.4 %"
    assert snap_text("83.0 m", "83.2 m", 0, 0.002, rounded=True) == "83.2 m"
