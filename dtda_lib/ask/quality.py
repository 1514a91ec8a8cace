"""Is the model any good? Loss of the queries against what needs no model, and what is to be said.

An answer about a model that has learnt nothing is about noise, however reliable it is.
"""

import math

import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from dtda_lib.data.own import own
from dtda_lib.data.task import Task
from dtda_lib.names import listing
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.removal import Design

HARDLY = 0.02  # a constant that is beaten by less than this share is hardly beaten


def losses_without_a_model(task: Task) -> dict[str, float]:
    """Mean loss of the queries, in the unit of the query loss, of two predictors without a model.

    Returns:
        "constant": every query is given the training targets' mean; of classes their shares there
        (smoothed by one example a class) or equal ones, whichever is better. "nearest input": the
        target of the nearest training point; of classes, with probability 0.9 for its class. Empty
        where a task has a loss of its own or no targets.
    """
    known = task.loss in ("cross_entropy", "squared_error", "squared_errors")
    if not known:
        return {}
    near = torch.cdist(task.query_x.flatten(1), task.train_x.flatten(1)).argmin(dim=1)
    if task.loss == "cross_entropy":
        counts = torch.bincount(task.train_y, minlength=task.n_outputs).double() + 1
        shares = [counts, torch.ones_like(counts)]
        tried = [one.log().expand(task.n_query, -1) for one in shares]
        constant = min(tried, key=lambda one: float(_loss(task, one, task.query_y).mean()))
        other = 0.1 / max(1, task.n_outputs - 1)
        sure = torch.full((task.n_query, task.n_outputs), other, dtype=torch.float64)
        nearest = sure.scatter(1, task.train_y[near][:, None], 0.9).log()
    else:
        constant = _column(task.train_y.double()).mean(dim=0).expand(task.n_query, -1)
        nearest = _column(task.train_y.double()[near])
    y = task.query_y if task.loss == "cross_entropy" else task.query_y.double()
    given = {"constant": constant, "nearest input": nearest}
    return {name: float(_loss(task, output, y).mean()) for name, output in given.items()}


def _column(values: Tensor) -> Tensor:
    return values if values.ndim == 2 else values[:, None]


def _loss(task: Task, output: Tensor, target: Tensor) -> Tensor:
    if task.loss == "cross_entropy":
        return F.cross_entropy(output, target, reduction="none")
    return task.per_example_loss(output, target)


def remarks_on_quality(task: Task, losses: xr.DataArray) -> str:
    """One sentence that compares a bank's query losses with those without a model; "" if unknown.

    Args:
        task: Whose queries.
        losses: Query losses of full-data runs, `(seed, query)`.
    """
    known = losses_without_a_model(task)
    if not known:
        return ""
    own, constant, nearest = float(losses.mean()), known["constant"], known["nearest input"]
    told = (
        f"Mean query loss {own:.3g}; of a constant predictor {constant:.3g}, of the nearest input "
        f"{nearest:.3g}"
    )
    if own > constant * (1 - HARDLY):
        return f"{told}: the model has learnt nothing that helps these queries."
    return f"{told}."


def lost_classes(task: Task, design: Design) -> str:
    """A sentence on removals that take the last training example of a class; "" if none does."""
    if task.train_y.is_floating_point() or len(design) < 2:
        return ""
    members = F.one_hot(task.train_y, task.n_outputs).to(design.weights.dtype)  # (train, class)
    left = design.weights @ members  # (removal, class)
    gone = ((left == 0) & (left[:1] > 0)).nonzero().tolist()
    if not gone:
        return ""
    told = [f"{design.labels[r]} ({_class(task, c)})" for r, c in gone]
    return f"Without these nothing of a class is left to train on: {listing(told)}."


def _class(task: Task, number: int) -> str:
    return f"class {task.classes[number]!r}" if task.classes else f"class {number}"


def remarks_before(bank: RunBank) -> str:
    """What is known before training: inferred loss, classes that vanish, what trains alone."""
    alone = getattr(bank, "alone", None)
    told = [*own(bank.task).notes, lost_classes(bank.task, bank.runs.design)]
    if alone is not None:
        told.append(f"Runs are trained one at a time, for {alone or 'the recipe'}.")
    if alone and "batch norm" in alone:
        told.append("A point that is left out also leaves the statistics of its batches.")
    return " ".join(filter(None, told))


def remarks_after(bank: RunBank, values: xr.DataArray) -> str:
    """The same, with how good the models are: of a bank's values `(seed, removal, ..., query)`."""
    first = bank.measures[0].name
    base = values.isel(removal=0)
    others = [dim for dim in base.dims if dim not in ("seed", "query")]
    good = remarks_on_quality(bank.task, base.mean(others)) if first == "query_loss" else ""
    return " ".join(filter(None, [remarks_before(bank), good]))


def to_beat(task: Task) -> str:
    """The losses without a model, for a plan; "" if unknown."""
    known = losses_without_a_model(task)
    known = {name: value for name, value in known.items() if math.isfinite(value)}
    return ", ".join(f"{value:.3g} ({name})" for name, value in known.items())
