"""Estimators of what a training point does to a query.

An estimator is a function of the recipe (and settings of its own) that returns a `Measure` with
the axes `(estimator, train, query)`, taken on one model at a time like any other measurement, so a
bank gives it per run and checkpoint. Signs are those of a shift upon removal: positive where the
point helps; so is the scale unless the measure's unit says otherwise. Models are taken as trained
on *all* training points. A new estimator is one function in one file plus one line here.
"""

from collections.abc import Callable

from dtda_lib.names import refuse_unknown_settings, unknown
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.recipes import Recipe

from .ekfac import influence_ekfac
from .gradients import gradient_similarity
from .influence import influence_ggn, influence_hessian, influence_lissa
from .leverage import influence_leverage
from .posterior import posterior_covariance
from .pseudo_inverse import influence_pinv
from .steps import additional_step
from .trak import trak

ESTIMATORS: dict[str, Callable[..., Measure]] = {
    "gradient_similarity": lambda recipe: gradient_similarity,
    "additional_step": additional_step,
    "influence_lissa": influence_lissa,
    "influence_ggn": influence_ggn,
    "influence_ekfac": influence_ekfac,
    "influence_hessian": influence_hessian,
    "influence_pinv": influence_pinv,
    "influence_leverage": influence_leverage,
    "posterior_covariance": posterior_covariance,
    "trak": trak,
}


def get_estimator(name: str, recipe: Recipe, **settings: float) -> Measure:
    """The estimator of that name for models trained by `recipe`.

    Args:
        name: A name in `ESTIMATORS`: "influence_ggn", "gradient_similarity", "trak", ...
        recipe: Gives weight decay and learning rate.
        settings: Of that estimator, such as `damping`.

    Returns:
        A measure `(estimator, train, query)`, in the sign of a shift upon removal: for the query's
        loss, positive = the point helps. Its unit says where the scale is another.

    Raises:
        ValueError: an unknown name, or settings that the estimator cannot use.
    """
    if name not in ESTIMATORS:
        raise ValueError(unknown("estimator", name, ESTIMATORS))
    refuse_unknown_settings(f"estimator {name!r}", ESTIMATORS[name], settings)
    return ESTIMATORS[name](recipe, **settings)
