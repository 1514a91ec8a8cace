"""Estimators of what a training point does to a query.

Each estimator is a `Measure` with the axes `(estimator, train, query)`, taken on one model at a
time like any other measurement, so a bank gives it per run and checkpoint. Sign and scale are those
of a shift upon removal unless the label's unit says "none". A new estimator is one function in one
file plus one line here.
"""

from ..measures import Measure
from .gradients import gradient_similarity

ESTIMATORS: dict[str, Measure] = {gradient_similarity.name: gradient_similarity}
