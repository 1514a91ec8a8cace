"""Parameters of notebook 12."""

from dataclasses import dataclass

from dtda_lib.study.parameters import ProfiledParameters


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="12_scoreboard", trains=False):
    """What a reader of notebook 12 may change."""
