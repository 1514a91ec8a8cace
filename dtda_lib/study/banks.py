"""Banks of runs of one task, model and recipe, declared alike in all topics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import Runs, SeedPair
from dtda_lib.runs.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What trains: data, model and recipe. Its methods declare banks; nothing trains.

    Args:
        task, model, recipe: As of `RunBank`.
        name: What the titles of its banks begin with.
        machine: Settings of all banks that decide no number: `device` and `workers`.
    """

    task: Task
    model: Model
    recipe: Recipe
    name: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)

    def bank(
        self, runs: Runs, measures: Sequence[str | Measure], title: str, **settings: Any
    ) -> RunBank:
        """These runs with these measures; `settings`: further ones of `RunBank`."""
        return RunBank(*self._trained, runs, measures, **self._settings(title) | settings)

    def unrolled(
        self, seeds: Sequence[SeedPair], of: str | Measure, title: str, **settings: Any
    ) -> UnrolledBank:
        """Unrolled shifts of the measurement `of`; `settings`: further ones of `UnrolledBank`."""
        return UnrolledBank(*self._trained, seeds, of, **self._settings(title) | settings)

    @property
    def _trained(self) -> tuple[Task, Model, Recipe]:
        return self.task, self.model, self.recipe

    def _settings(self, title: str) -> dict[str, Any]:
        return {"title": ", ".join(filter(None, [self.name, title])), **self.machine}
