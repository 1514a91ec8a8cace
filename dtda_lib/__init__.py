"""Training data attribution as distributions: what a training point did, when training is random.

`import dtda_lib as dt` gives the names below; each is loaded when it is first used, so that the
import itself takes no time. A name that is missing here is no part of the public interface.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from .names import unknown

# With spinning OpenMP threads a busy CPU slows small trainings up to a hundredfold. libgomp reads
# this once, when torch is first imported, so it is set before anything else.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"

FACE: dict[str, dict[str, tuple[str, ...]]] = {
    "Data": {
        "data.task": ("Task",),
        "data.named": ("get_task",),
        "data.own": ("as_task", "weighted_cross_entropy"),
        "data.images": ("cifar10", "image_folder"),
    },
    "Models": {
        "models.networks": ("Network", "get_model"),
        "models.lora": ("add_lora",),
        "models.vision_transformer": ("published_vit_lora",),
        "ask.refusals": ("check_model", "why_refused"),
    },
    "Runs": {
        "runs.recipes": ("Recipe", "get_recipe"),
        "runs.loop": ("LoopRecipe",),
        "runs.removal": ("nothing", "leave_one_out", "leave_groups_out", "half_subsets"),
        "runs.protocols": ("seed_pairs", "crossed_pairs", "paired", "unpaired"),
        "runs.measures": ("Measure", "get_measure", "measure"),
        "runs.training": ("train",),
        "runs.bank": ("RunBank",),
        "runs.shifts": ("shift_upon_removal",),
    },
    "Attribution": {
        "attribution.registry": ("get_estimator",),
        "attribution.unrolled_bank": ("UnrolledBank",),
    },
    "Statistics": {
        "statistics.significance": ("t_test", "sign_flip", "benjamini_hochberg"),
        "statistics.over_seeds": ("signal_to_noise",),
        "statistics.agreement": ("correlation", "cross_set_reliability", "noise_ceiling"),
        "statistics.distances": ("get_distance",),
        "statistics.distributions": ("distance", "shifted_samples"),
        "statistics.variance": ("variance_components",),
        "statistics.lds": ("lds",),
    },
    "Your own question": {
        "ask.question": (
            "retraining_bank",
            "estimator_bank",
            "shifts",
            "scores",
            "trained_scores",
        ),
        "ask.trainer": ("trainer_bank",),
        "ask.plan": ("plan",),
        "ask.answer": ("reliable", "points_of", "screen", "hits"),
        "ask.arrays": ("as_laws", "as_scores"),
        "ask.decide": ("decide_pairs",),
        "ask.agreement": ("agreement", "law_changes"),
        "ask.page": ("page",),
    },
    "Theory": {
        "theory.testbeds": ("AnchoredRidge", "GaussianLaw"),
        "theory.langevin": ("LinearChain",),
    },
}
"""Group -> module of this package -> its public names; a new public name is one entry here."""

_HOMES = {
    name: f"{__name__}.{module}"
    for modules in FACE.values()
    for module, names in modules.items()
    for name in names
}
__all__ = list(_HOMES)

if TYPE_CHECKING:  # for editors and type checkers, which run nothing
    from .ask.agreement import agreement as agreement
    from .ask.agreement import law_changes as law_changes
    from .ask.answer import hits as hits
    from .ask.answer import points_of as points_of
    from .ask.answer import reliable as reliable
    from .ask.answer import screen as screen
    from .ask.arrays import as_laws as as_laws
    from .ask.arrays import as_scores as as_scores
    from .ask.decide import decide_pairs as decide_pairs
    from .ask.page import page as page
    from .ask.plan import plan as plan
    from .ask.question import estimator_bank as estimator_bank
    from .ask.question import retraining_bank as retraining_bank
    from .ask.question import scores as scores
    from .ask.question import shifts as shifts
    from .ask.question import trained_scores as trained_scores
    from .ask.refusals import check_model as check_model
    from .ask.refusals import why_refused as why_refused
    from .ask.trainer import trainer_bank as trainer_bank
    from .attribution.registry import get_estimator as get_estimator
    from .attribution.unrolled_bank import UnrolledBank as UnrolledBank
    from .data.images import cifar10 as cifar10
    from .data.images import image_folder as image_folder
    from .data.named import get_task as get_task
    from .data.own import as_task as as_task
    from .data.own import weighted_cross_entropy as weighted_cross_entropy
    from .data.task import Task as Task
    from .models.lora import add_lora as add_lora
    from .models.networks import Network as Network
    from .models.networks import get_model as get_model
    from .models.vision_transformer import published_vit_lora as published_vit_lora
    from .runs.bank import RunBank as RunBank
    from .runs.loop import LoopRecipe as LoopRecipe
    from .runs.measures import Measure as Measure
    from .runs.measures import get_measure as get_measure
    from .runs.measures import measure as measure
    from .runs.protocols import crossed_pairs as crossed_pairs
    from .runs.protocols import paired as paired
    from .runs.protocols import seed_pairs as seed_pairs
    from .runs.protocols import unpaired as unpaired
    from .runs.recipes import Recipe as Recipe
    from .runs.recipes import get_recipe as get_recipe
    from .runs.removal import half_subsets as half_subsets
    from .runs.removal import leave_groups_out as leave_groups_out
    from .runs.removal import leave_one_out as leave_one_out
    from .runs.removal import nothing as nothing
    from .runs.shifts import shift_upon_removal as shift_upon_removal
    from .runs.training import train as train
    from .statistics.agreement import correlation as correlation
    from .statistics.agreement import cross_set_reliability as cross_set_reliability
    from .statistics.agreement import noise_ceiling as noise_ceiling
    from .statistics.distances import get_distance as get_distance
    from .statistics.distributions import distance as distance
    from .statistics.distributions import shifted_samples as shifted_samples
    from .statistics.lds import lds as lds
    from .statistics.over_seeds import signal_to_noise as signal_to_noise
    from .statistics.significance import benjamini_hochberg as benjamini_hochberg
    from .statistics.significance import sign_flip as sign_flip
    from .statistics.significance import t_test as t_test
    from .statistics.variance import variance_components as variance_components
    from .theory.langevin import LinearChain as LinearChain
    from .theory.testbeds import AnchoredRidge as AnchoredRidge
    from .theory.testbeds import GaussianLaw as GaussianLaw


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        if name.startswith("_"):  # inspection asks for many of these
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        raise AttributeError(unknown(f"name of {__name__}", name, _HOMES))
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found  # so that it is looked up once
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
