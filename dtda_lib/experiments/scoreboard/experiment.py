"""What notebook 12 reads: all evidence, the scores of estimators, the comparison of libraries."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from dtda_lib.study.artefacts import study_root
from dtda_lib.study.evidence import Evidence, load
from dtda_lib.study.settings import Config

from .libraries import RESULT, comparison
from .tables import LDS_NOTEBOOK, lds_scores


@dataclass(frozen=True)
class Experiment:
    """Files that other notebooks and a benchmark have left behind; nothing trains.

    Args:
        evidence: Every claim on record.
        profile: Where the scores come from.
        scores: LDS of every estimator; see `tables.lds_scores`.
        beside: Our estimators beside public libraries; see `libraries.comparison`.
    """

    evidence: Evidence
    profile: str
    scores: pd.DataFrame
    beside: dict[str, Any]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """What is on record, the same at every profile."""
        root = study_root()
        profile, scores = lds_scores(root)
        return cls(load(root), profile, scores, comparison(root / RESULT))

    def print_cost(self) -> None:
        """Print how much is read."""
        print(f"nothing trains: {len(self.evidence.findings)} claims are read from their files")


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: the files that are read."""
    return {"reads": ["*.claims.json", f"{LDS_NOTEBOOK}-lds_*.csv", RESULT.as_posix()]}
