"""Estimators of what a training point does to a measurement.

An estimator is a function of the recipe, of the measurement (`of`, any: see `targets`) and of
settings of its own that returns a `Measure` with the axes `(estimator, train, *axes of the
measurement)`, taken on one model at a time like any other measure, so a bank gives it per run and
checkpoint. Signs are those of a shift upon removal: for a loss positive where the point helps. So
are scale and unit, unless the measure's unit says otherwise. Models are taken as trained on *all*
training points. A new estimator is one function in one file and one line here.
"""

from collections.abc import Callable

from dtda_lib.names import refuse_unknown_settings, unknown
from dtda_lib.runs.measures import Measure, query_loss
from dtda_lib.runs.recipes import Recipe

from .ekfac import influence_ekfac
from .influence import influence_ggn, influence_hessian, influence_lissa
from .leverage import influence_leverage
from .posterior import posterior_covariance
from .pseudo_inverse import influence_pinv
from .similarity import gradient_similarity
from .steps import additional_step
from .trak import trak

ESTIMATORS: dict[str, Callable[..., Measure]] = {
    "gradient_similarity": gradient_similarity,
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


def get_estimator(
    name: str, recipe: Recipe, *, of: str | Measure = query_loss, **settings: object
) -> Measure:
    """The estimator of that name for models trained by `recipe`.

    Args:
        name: A name in `ESTIMATORS`: "influence_ggn", "gradient_similarity", "trak", ...
        recipe: How the models are trained; gives weight decay and learning rate.
        of: The measurement whose shift upon removal is predicted: a name in `measures.MEASURES`, or
            a measure of your own, which all but "additional_step" and "posterior_covariance"
            differentiate.
        settings: Of that estimator, such as `damping`.

    Returns:
        A measure called `name`, `(estimator, train, *of.dims)`, in the sign of a shift upon
        removal: for the query's loss, positive = the point helps. Its unit says where the scale is
        another.

    Raises:
        ValueError: an unknown name or setting, settings that the estimator cannot use, or a
            measurement that is unknown or an estimator itself. A measurement that has no gradient
            or another shape than it states is refused when a bank is declared, or when used.
    """
    if name not in ESTIMATORS:
        raise ValueError(unknown("estimator", name, ESTIMATORS))
    refuse_unknown_settings(f"estimator {name!r}", ESTIMATORS[name], settings)
    return ESTIMATORS[name](recipe, of=of, **settings)
