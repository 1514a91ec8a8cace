"""What a retraining bank will cost, and which shifts that many seeds can show: said beforehand.

Of shifts that are there already, which shifts they could show and what more seeds would add.
"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
import xarray as xr

from dtda_lib.names import Shown
from dtda_lib.runs.bank import Bank, RunBank
from dtda_lib.runs.progress import readable_seconds
from dtda_lib.runs.trainer_bank import TrainerBank
from dtda_lib.statistics.over_seeds import mean_and_sd
from dtda_lib.statistics.power import detectable_snr, discovery_level, seeds_needed
from dtda_lib.statistics.significance import DEFAULT_TEST
from dtda_lib.study.methods import TESTS

from .answer import FAMILIES, tested_over
from .arrays import axis_of_removals, upon_removal
from .quality import remarks_before, to_beat
from .refusals import randomness

HEADER_BYTES = 200  # of a shard: names, shapes, checksum


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """What a retraining bank costs, and which shifts it, or shifts that you have, can show.

    Args:
        points, queries, seeds: Its design; `pairs` = points * queries are tested.
        runs, missing: Trainings in all, and those that are not cached yet.
        shards, disk_bytes: What the cache will hold of them; no shards if they were trained
            elsewhere.
        seconds, workers: Expected wall-clock time of what is missing, by a timed probe.
        test: The test that `reliable` is to make.
        q, target: Rate of false discoveries; probability of finding a pair.
        level_one, level_many: Level of a pair's test if it is the only real one, and if a share
            `real` of all pairs is real.
        snr_one, snr_many: Smallest |mean shift| found with probability `target` at either level,
            in units of the pair's standard deviation over seeds, sigma; by the seeds that are left;
            infinite where no p of so few seeds reaches that level.
        sigma: Median sigma over the pairs of a pilot, or None; `unit` is its unit.
        random: What differs between two seeds; see `randomness`.
        diverged: Seeds that are known to have diverged, and what becomes of them; "" if none.
        to_beat: Mean query loss of a constant predictor and of the nearest input; "" if unknown.
        remarks: What a reader of the answer has to know; "" if nothing.
    """

    points: int
    queries: int
    seeds: int
    runs: int
    missing: int
    shards: int
    disk_bytes: int
    seconds: float
    workers: int
    test: str
    q: float
    target: float
    real: float
    level_one: float
    level_many: float
    snr_one: float
    snr_many: float
    sigma: float | None
    unit: str
    random: str
    diverged: str
    to_beat: str
    remarks: str

    @property
    def pairs(self) -> int:
        """Tests made at once."""
        return self.points * self.queries

    def seeds_for(self, snr: float, *, only_one: bool = False) -> int:
        """Seeds that find |mean shift| = `snr` sigma with probability `target`."""
        level = self.level_one if only_one else self.level_many
        return seeds_needed(snr, level, self.target, test=self.test)

    def table(self) -> pd.DataFrame:
        """The plan as rows of (what, value)."""
        found = f"found with {self.target:.0%} power"
        rows = [
            ("design", f"{self.points} points x {self.queries} queries, {self.seeds} seeds"),
            ("seeds differ in", self.random),
            *self._costs(),
        ]
        if not self.points:
            return pd.DataFrame([*rows, *self._notes()], columns=["what", "value"])
        rows += [
            (
                "tests",
                f"{self.pairs} pairs, {TESTS[self.test].label}, {self.q:.0%} false discoveries",
            ),
            (f"{found}, if {self.real:.0%} of pairs are real", self._shift(self.snr_many)),
            (f"{found}, if one pair is", self._shift(self.snr_one)),
        ]
        rows += [
            (f"seeds for a shift of {snr:g} sigma", f"{self._seeds(snr)}") for snr in (2, 1, 0.5)
        ]
        if self.diverged:
            rows.insert(2, ("diverged", self.diverged))
        return pd.DataFrame([*rows, *self._notes()], columns=["what", "value"])

    def _notes(self) -> list[tuple[str, str]]:
        rows = [("query loss to beat", self.to_beat), ("note", self.remarks)]
        return [(what, value) for what, value in rows if value]

    def _costs(self) -> list[tuple[str, str]]:
        if not self.shards:
            return [("runs", f"{self.runs}, trained elsewhere")]
        return [
            ("runs", f"{self.runs}, {self.runs - self.missing} of them cached"),
            ("time", self._time()),
            ("disk", f"{readable_bytes(self.disk_bytes)} in {self.shards} shard(s)"),
        ]

    def _time(self) -> str:
        if math.isnan(self.seconds):
            return "not timed"
        return f"about {readable_seconds(self.seconds)} with {self.workers} worker(s)"

    def _seeds(self, snr: float) -> str:
        return f"{self.seeds_for(snr)} to {self.seeds_for(snr, only_one=True)}"

    def _shift(self, snr: float) -> str:
        if math.isinf(snr):
            return f"nothing with {self.seeds} seeds"
        text = f"|mean shift| of {snr:.2f} sigma"
        if self.sigma is None:
            return text
        return f"{text} = {snr * self.sigma:.2g} at the pilot's median sigma"

    def _facts(self) -> dict[str, object]:
        return dict(self.table().itertuples(index=False))

    def __repr__(self) -> str:
        if not self.points:
            return f"Plan({self.seeds} seeds, nothing left out: {self.missing} runs missing)"
        return (
            f"Plan({self.points} points x {self.queries} queries, {self.seeds} seeds: {self.runs} "
            f"runs, {self.missing} missing,\n    shows {self._shift(self.snr_many)})"
        )

    def __str__(self) -> str:
        rows = self.table().itertuples(index=False)
        width = max(len(what) for what in self.table()["what"])
        return "\n".join(f"{what:<{width}}  {value}" for what, value in rows)


def plan(
    bank: RunBank | TrainerBank | xr.DataArray,
    *,
    family: str = "all",
    q: float = 0.05,
    target: float = 0.8,
    real: float = 0.1,
    test: str = DEFAULT_TEST,
    pilot: xr.DataArray | None = None,
    timed: bool = True,
) -> Plan:
    """The cost of a retraining bank and the smallest effects it can show; trains nothing.

    Of shifts that you have, the smallest effects that they could show, and `Plan.seeds_for` the
    seeds that it takes to show others.

    Levels are those of Benjamini-Hochberg for Gaussian, independent pairs (`discovery_level`).

    Args:
        bank: From `retraining_bank` or `trainer_bank`; or shifts `(seed, train, query)`, from
            `shifts` or `as_scores`, which are their own pilot. Of an `estimator_bank` the costs
            alone: nothing is left out, so nothing is tested.
        family: As for `reliable`: which pairs are tested at once.
        q: Share of false discoveries.
        target: Wanted probability of finding a pair.
        real: Share of pairs taken as real for `level_many`.
        test: As for `reliable`; "bootstrap_t" or "t", whose power is known.
        pilot: Shifts `(seed, train, query)` of a few seeds, for effects in the measure's unit. A
            sigma of n seeds is itself uncertain by about 1 / sqrt(2 n - 2).
        timed: Take the timed probe; without it `seconds` is NaN.

    Raises:
        ValueError: fewer than two seeds, shifts without their axes, a test of unknown power, or
            shares outside 0..1.
    """
    if not 0 < real <= 1:
        raise ValueError(f"plan: real = {real} is a share of pairs, above 0 and at most 1.")
    if isinstance(bank, Bank):
        facts, left = _of_bank(bank, timed)
    else:
        pilot = upon_removal(bank)
        facts, left = _of_shifts(pilot)
    every_query = tested_over(family) == FAMILIES["all"]
    # Of a bank that leaves nothing out no row speaks of tests.
    tested = max(1, facts["points"] * (facts["queries"] if every_query else 1))
    n_real = max(1, round(real * tested))
    one = discovery_level(tested, 1, q, target)
    many = discovery_level(tested, n_real, q, target)
    return Plan(
        **facts,
        test=test,
        q=q,
        target=target,
        real=real,
        level_one=one,
        level_many=many,
        snr_one=detectable_snr(left, one, target, test=test),
        snr_many=detectable_snr(left, many, target, test=test),
        sigma=None if pilot is None else float(mean_and_sd(pilot)[1].median()),
    )


def _of_bank(bank: RunBank | TrainerBank, timed: bool) -> tuple[dict[str, Any], int]:
    """What a bank says of a plan, and the seeds that are left of it."""
    left, diverged = bank.runs.n_seeds, bank.diverged_text()
    if diverged and bank.drop_diverged:
        left -= int(bank.diverged().any("removal").sum())
        diverged = f"{diverged}: they leave every law"
    elif diverged:
        diverged = f"{diverged}: drop_diverged=True leaves them out"
    if isinstance(bank, RunBank):
        own = {
            "queries": bank.task.n_query,
            "unit": bank.measures[0].unit,
            "random": randomness(bank.model),
            "to_beat": to_beat(bank.task) if bank.measures[0].name == "query_loss" else "",
            "remarks": remarks_before(bank),
        }
    else:
        own = {
            "queries": bank.n_query,
            "unit": bank.unit or "not stated",
            "random": bank.random,
            "to_beat": "",
            "remarks": "",
        }
    facts = own | {
        "points": len(bank.runs.design) - 1,
        "seeds": bank.runs.n_seeds,
        "runs": len(bank.runs),
        "missing": sum(shard.runs for shard in bank.missing()),
        "shards": len(bank.shards),
        "disk_bytes": disk_bytes(bank),
        "seconds": bank.estimate().seconds if timed else math.nan,
        "workers": bank.workers,
        "diverged": diverged,
    }
    return facts, left


def _of_shifts(shift: xr.DataArray) -> tuple[dict[str, Any], int]:
    """The same of shifts that are there, with runs as if every seed had one of the full data."""
    sizes = {dim: shift.sizes.get(dim, 0) for dim in ("seed", axis_of_removals(shift), "query")}
    if 0 in sizes.values() or len(sizes) != shift.ndim:
        raise ValueError(
            f"plan: shifts have the axes seed, train (or removal) and query, not "
            f"{', '.join(map(str, shift.dims))}."
        )
    seeds, points, queries = sizes.values()
    dropped = shift.attrs.get("dropped")
    facts = {"points": points, "queries": queries, "seeds": seeds}
    facts |= {"runs": seeds * (1 + points), "missing": 0, "shards": 0, "disk_bytes": 0}
    facts |= {"seconds": 0.0, "workers": 0, "unit": shift.attrs.get("unit", "not stated")}
    facts |= {"random": shift.attrs.get("random", "not stated"), "to_beat": ""}
    facts |= {"remarks": shift.attrs.get("remarks", "")}
    return facts | {"diverged": f"{dropped}: they left every law" if dropped else ""}, seeds


def disk_bytes(bank: RunBank | TrainerBank) -> int:
    """Bytes of the shards of a bank: its measurements, and what describes them."""
    each = _bytes_measured(bank) if isinstance(bank, RunBank) else bank.value_bytes
    about = sum(len(shard.spec.replace('"', '\\"')) + HEADER_BYTES for shard in bank.shards)
    return len(bank.runs) * each + about


def _bytes_measured(bank: RunBank) -> int:
    """Bytes of what one run measures."""
    theta = bank.initial(0)
    with torch.no_grad():
        kept = [m(bank.network, theta, bank.task) for m in bank.measures]
    each = sum(value.numel() * value.element_size() for value in kept)
    return each * len(bank.recipe.checkpoints)


def readable_bytes(number: float) -> str:
    """`12 kB`, `3.4 MB` or `1.2 GB`, in powers of 1,000."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{max(1, round(number / 1e3))} kB"
