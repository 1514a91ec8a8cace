"""What notebook 08 trains, declared from its parameters, and what all of it says together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.shifts import print_costs_by_kind
from dtda_lib.statistics.lds import LdsScores
from dtda_lib.study.settings import Config

from . import setting
from .lds import group_scores
from .setting import BaseRegime, Regime

FACTOR = 4
"""Learning rates are this factor apart."""
AROUND = {
    "Concrete": [
        (1, 1, False),
        (1, 2, False),
        (1 / FACTOR, 0, False),
        (FACTOR, 0, False),
        (FACTOR, 1, False),
        (FACTOR, 2, True),
    ],
    "digits": [(1 / FACTOR, 0, False), (1, 1, False)],
    "CNN": [(1 / FACTOR, 0, False)],
}
"""Data -> regimes around the base: factor on its rate, which of the lengths, whether points are
deleted, too.

A fraction of all rates, lengths and interventions that decides. Rate and length each vary alone
from the base, of the CNN the rate alone. On Concrete they vary together, too: long training at the
base rate and middling training at a larger one have the same sum of learning rates and differ in
the noise of a step. Smaller rates with longer training are left out: less noise for the same sum.
Deleting takes a bank a point, so it is done in the base regimes, and on Concrete where rate and
length are largest. It is no re-shuffling: runs without two different points shuffle alike, and what
they share cancels in a correlation over points.
"""


@dataclass(frozen=True)
class Experiment:
    """Three data sets, each in a base regime and in others.

    Args:
        settings: Data -> its base regime.
        regimes: Data -> all regimes, the base first.
    """

    settings: Mapping[str, BaseRegime]
    regimes: Mapping[str, list[Regime]]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Concrete, digits and the CNN as `cfg` says; nothing trains."""
        common = {
            "weight_decay": cfg.weight_decay,
            "steps": cfg.lengths[0],
            "damping": cfg.damping,
            "draws": cfg.n_draws,
            "machine": {"device": cfg.device, "workers": cfg.workers},
        }
        sizes = {
            "n_seeds": cfg.n_seeds,
            "n_unpaired": cfg.n_unpaired,
            "n_subsets": cfg.n_subsets,
            "n_subset_seeds": cfg.n_subset_seeds,
        }
        half = {"n_seeds": max(10, cfg.n_seeds // 2), "n_unpaired": max(10, cfg.n_unpaired // 2)}
        few = {
            "n_seeds": max(10, cfg.n_seeds // 6),
            "n_unpaired": max(10, cfg.n_unpaired // 16),
            "n_subsets": cfg.n_subsets // 2,
            "n_subset_seeds": max(6, cfg.n_subset_seeds // 4),
        }
        others = {"CNN": max(6, cfg.n_regime_seeds // 2)}  # models in its other regimes
        dense = common | sizes | {"width": cfg.width, "n_points": cfg.n_left_out}
        settings = [
            setting.concrete_setting(rate=cfg.rate, **dense),
            setting.digits_setting(rate=FACTOR * cfg.rate, **dense | half),
            setting.cnn_setting(
                rate=FACTOR * cfg.rate,
                per_digit=cfg.cnn_images,
                n_points=cfg.n_left_out // 2,
                **common,
                **few,
            ),
        ]
        regimes = {
            base.name: [base]
            + [
                base.at(
                    factor * base.recipe.lr,
                    cfg.lengths[number],
                    others.get(base.name, cfg.n_regime_seeds),
                    deletes=deletes,
                )
                for factor, number, deletes in AROUND[base.name]
                if number < len(cfg.lengths)
            ]
            for base in settings
        }
        return cls({base.name: base for base in settings}, regimes)

    @property
    def banks(self) -> list[RunBank | UnrolledBank]:
        """All banks, in the order in which they are trained."""
        every = [regime for regimes in self.regimes.values() for regime in regimes]
        return [bank for regime in every for bank in regime.banks]

    def print_cost(self) -> None:
        """Print what the larger part of training will take on this machine, from timed probes."""
        kinds: dict[str, list[RunBank | UnrolledBank]] = {}
        for name, base in self.settings.items():
            retrained = [base.unpaired, base.subsets, *(one.moved for one in self.regimes[name])]
            kinds[f"{name}, retraining"] = retrained
            kinds[f"{name}, estimators in the base regime"] = [base.models]
            kinds[f"{name}, unrolling in the base regime"] = [base.followed]
        print_costs_by_kind(kinds, total_of="of these, the larger part")

    def lds_scores(self) -> dict[tuple[str, str], LdsScores]:
        """LDS of all methods, by data and size of the subsets; trains what is missing."""
        return {
            (name, size): group_scores(
                one.subsets,
                groups,
                setting.law_before(one.models),
                one.shifts.everywhere,
                np.random.default_rng(0),
            )
            for name, one in self.settings.items()
            for size, groups in one.groups.items()
        }


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the subsets that are scored."""
    experiment = Experiment.of(cfg)
    groups = {name: one.groups for name, one in experiment.settings.items()}
    return {"banks": [bank.key for bank in experiment.banks], "groups": groups}
