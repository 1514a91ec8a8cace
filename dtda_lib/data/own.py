"""A `Task` out of what you have: arrays, tensors, a pandas table or a torch data set.

Everything is checked on the way in; what cannot be used is refused in one sentence. Class labels
become 0, 1, 2, ... in sorted order. Columns of a table are standardised by the training rows alone;
whole numbers of a model that takes several arrays, such as token ids, stay what they are.
"""

import functools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from dtda_lib.names import unknown

from .task import LOSSES, Task

Loss = Callable[[Tensor, Tensor], Tensor]

TARGET_NAMES = ("labels", "label", "target", "targets", "y")
"""Under which of these names an item of a data set holds its target, if it is a dict."""
LARGEST_WHOLE = 2**24
"""Whole numbers below are exact in float32, in which a task keeps its inputs."""
LARGE = 100  # inputs beyond, which no usual learning rate fits
FEW = 5  # examples of a class, of which fewer than this many are hardly a class


@dataclass(frozen=True)
class Input:
    """One of the arrays that a model takes, where it takes several or whole numbers.

    Args:
        name: Of the model's argument; "": the first argument, by position.
        shape: Of one example.
        whole: Handed to the model as int64, such as token ids or a mask.
    """

    name: str
    shape: tuple[int, ...]
    whole: bool


@dataclass(frozen=True, repr=False)
class OwnTask(Task):
    """A `Task` with what only data of one's own have; from `as_task`.

    Apart from `Task`, whose code is part of every key.

    Args:
        own_loss: `(output, target) -> (example,)` in place of one of `LOSSES`; `loss` is its name,
            and targets may be `(train, output)`.
        inputs: How a row of `train_x` is laid out, where the model takes several arrays or whole
            numbers; () if it takes `train_x` as it is.
        names: Of the points and of the queries, where a table's index has them.
        notes: What was taken for granted, one sentence each.

    Raises:
        ValueError: see `Task`; inputs that do not fit the rows.
    """

    own_loss: Loss | None = None
    inputs: tuple[Input, ...] = ()
    names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.own_loss is None:
            super().__post_init__()
        else:  # the same checks, by a loss with targets of this kind
            real = self.train_y.is_floating_point()
            parts = {one: getattr(self, one) for one in ("train_x", "query_x", "columns")}
            ys = {one: getattr(self, one) for one in ("train_y", "query_y")}
            ys = {name: y[:, 0] if y.ndim == 2 else y for name, y in ys.items()}
            kind = "squared_error" if real else "cross_entropy"
            plain = Task(self.name, loss=kind, n_outputs=self.n_outputs, **parts, **ys)
            for part in ("train_id", "query_id"):
                object.__setattr__(self, part, getattr(self, part) or getattr(plain, part))
        laid_out = sum(math.prod(one.shape) for one in self.inputs)
        if self.inputs and self.train_x.shape[1:] != (laid_out,):
            raise ValueError(
                f"task {self.name!r}: the inputs {', '.join(one.name for one in self.inputs)} have "
                f"{laid_out} values, but a training point has the shape "
                f"{tuple(self.train_x.shape[1:])}."
            )

    @property
    def per_example_loss(self) -> Loss:
        """`(output, target) -> (example,)` losses."""
        return LOSSES[self.loss] if self.own_loss is None else self.own_loss

    def _facts(self) -> dict[str, object]:
        return super()._facts() | ({"notes": " ".join(self.notes)} if self.notes else {})


def own(task: Task) -> OwnTask:
    """The task as an `OwnTask`, which has what a plain one lacks."""
    if isinstance(task, OwnTask):
        return task
    fields = {name: getattr(task, name) for name in Task.__dataclass_fields__}
    made = object.__new__(OwnTask)  # unchecked, as the task is checked
    made.__dict__.update(fields, own_loss=None, inputs=(), names=((), ()), notes=())
    return made


def squared_errors(output: Tensor, target: Tensor) -> Tensor:
    """Half squared errors of several outputs `(example, output)`, added up: `(example,)`."""
    return 0.5 * (output - target).square().sum(dim=-1)


@dataclass(frozen=True)
class Examples:
    """What was given, in memory.

    Args:
        x: Inputs `(example, feature...)`; several arrays lie side by side, `(example, value)`.
        y: Targets `(example,)`, or `(example, output)`.
        columns: Names of a table's inputs.
        inputs: See `Task`.
        names: Of the examples.
    """

    x: np.ndarray
    y: np.ndarray
    columns: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()
    names: tuple[str, ...] = ()


def as_task(
    data: Any,
    query: Any = None,
    *,
    target: str | None = None,
    n_train: int | None = None,
    n_query: int | None = None,
    loss: str | Loss | None = None,
    standardise: bool | None = None,
    whole: bool | None = None,
    seed: int = 0,
    name: str = "mine",
    licence: str = "not stated",
    source: str = "user",
) -> Task:
    """A task from a `DataFrame`, a pair (inputs, targets) of arrays or tensors, or a torch
    `Dataset` of such pairs; a `Task` is handed back as it is.

    Args:
        data: Examples. Inputs `(example, feature...)`, images `(example, channel, row, column)`, or
            a dict of arrays by the names of a model's arguments (`input_ids`, `attention_mask`).
            Items of a data set are (input, target), with further entries passed over, or dicts
            with the target as `labels`, `label`, `target` or `y`, as those of Hugging Face.
            Targets `(example,)` or `(example, 1)`; real ones may be several, `(example, output)`,
            whose half squared errors are added up.
        query: Examples of the same kind that never train; None: `n_query` of `data`, drawn by
            `seed`, are kept from training.
        target: The column of a table that is to be predicted.
        n_train: Train on this many, drawn by `seed`; None: on all that are no queries.
        n_query: Queries; None: a fifth of `data`, at most 100 (or all of `query`).
        loss: "cross_entropy" or "squared_error"; None: by the targets, real numbers being regressed
            and anything else (whole numbers, truth values, words) taken as classes. Or a function
            `(output, target) -> (example,)`, which trains and, as "query_loss", is measured; see
            `weighted_cross_entropy`.
        standardise: Mean 0 and standard deviation 1 of each input column, and of a real target,
            over the training points; None: for tables and flat inputs, not for images, nor for
            inputs that stay whole numbers.
        whole: Hand the inputs to the model as whole numbers (int64), as `nn.Embedding` wants them;
            None: where they are given by name and are whole.
        seed: Of the draws.
        name, licence, source: Printed in notebooks.

    Returns:
        A task whose ids are row numbers of `data` (queries: of `query`, if given), with the labels
        as `classes`, the names of a table's inputs as `columns`, those of its index as `names`, and
        what was inferred as `notes`.

    Raises:
        ValueError: one sentence; missing values, words among the inputs, too few examples, data
            sets that draw at random, a class that is asked about and never trains, and whatever
            `Task` refuses.

    Warns:
        UserWarning: the same inputs stand twice in training, or in training and among the queries;
            targets that may be of the other kind: two real values, or many classes of few examples.
    """
    if isinstance(data, Task):
        return data
    given_loss = loss if callable(loss) else None
    if loss is not None and given_loss is None and loss not in LOSSES:
        raise ValueError(unknown("loss", loss, LOSSES))
    given = _examples(data, target, "data", whole)
    x, y = given.x, given.y
    kind, notes = _kind(y, loss, name)
    order = np.random.default_rng(seed).permutation(len(x))
    if query is None:
        at, order = _kept_from_training(order, n_query)
        asked = given
    else:
        asked = _examples(query, target, "query", whole)
        at = _given_queries(asked, given, n_query)
    query_x, query_y = asked.x[at], asked.y[at]
    rows = _training_rows(order, n_train)
    train_x = x[rows]
    train_y, query_y, classes = _as_loss_needs(kind, y, y[rows], query_y, name)
    _warn_of_twins(train_x, query_x, name)
    flat = train_x.ndim == 2 and not any(one.whole for one in given.inputs)
    if flat if standardise is None else standardise:
        train_x, query_x = _standardised(train_x, query_x)
        if kind != "cross_entropy":
            train_y, query_y = _standardised(train_y, query_y)
    _warn_of_large(train_x, given.inputs, name)
    number = np.int64 if classes else np.float32
    if kind == "squared_errors" and given_loss is None:
        given_loss = squared_errors
    return OwnTask(
        name=name,
        train_x=_tensor(train_x, np.float32),
        train_y=_tensor(train_y, number),
        query_x=_tensor(query_x, np.float32),
        query_y=_tensor(query_y, number),
        loss=kind if given_loss is None else _name_of(given_loss),
        n_outputs=len(classes) or (y.shape[1] if y.ndim == 2 else 1),
        train_id=tuple(rows.tolist()),
        query_id=tuple(at.tolist()),
        licence=licence,
        source=source,
        classes=classes,
        columns=given.columns,
        own_loss=given_loss,
        inputs=given.inputs,
        names=(_picked(given.names, rows), _picked(asked.names, at)),
        notes=notes,
    )


def weighted_cross_entropy(
    class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
) -> Loss:
    """A loss for `as_task`: cross-entropy with class weights or smoothed labels, in nats.

    Each example's loss is multiplied by its class's weight; a batch is averaged over its size, as
    everywhere here, and not over the weights.

    Raises:
        ValueError: a weight that is not positive, or a smoothing outside 0..1.
    """
    if class_weights is not None and not all(w > 0 for w in class_weights):
        raise ValueError("class weights must be positive, one for each class in sorted order.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing = {label_smoothing}; take 0 or more, below 1.")
    weights = None if class_weights is None else tuple(map(float, class_weights))
    return functools.partial(_weighted, class_weights=weights, label_smoothing=label_smoothing)


def _weighted(
    output: Tensor,
    target: Tensor,
    *,
    class_weights: tuple[float, ...] | None,
    label_smoothing: float,
) -> Tensor:
    weight = None if class_weights is None else output.new_tensor(class_weights)
    return F.cross_entropy(
        output, target, weight=weight, label_smoothing=label_smoothing, reduction="none"
    )


def _name_of(function: Loss) -> str:
    function = function.func if isinstance(function, functools.partial) else function
    return getattr(function, "__name__", type(function).__name__).strip("_<>")


def _picked(names: tuple[str, ...], at: np.ndarray) -> tuple[str, ...]:
    return tuple(names[row] for row in at) if names else ()


def _kind(y: np.ndarray, loss: str | Loss | None, name: str) -> tuple[str, tuple[str, ...]]:
    """Which of `LOSSES` fits the targets, and what was taken for granted in choosing it."""
    real = y.dtype.kind == "f"
    several = y.ndim == 2
    if several and (loss == "cross_entropy" or not real):
        raise ValueError(
            f"task {name!r}: {y.shape[1]} targets an example are regressed, so they must be real "
            "numbers; of classes give one column."
        )
    if callable(loss) or loss is None:
        kind = "squared_error" if real else "cross_entropy"
    else:
        kind = loss
    if several:
        kind = "squared_errors"
    if loss is not None:
        return kind, ()
    values = np.unique(y)
    if kind == "cross_entropy":
        if len(values) > 10 and len(y) < FEW * len(values):
            warnings.warn(
                f"task {name!r}: {len(values)} different targets on {len(y)} examples are taken as "
                "classes; pass loss='squared_error' if they are numbers to regress, or "
                "loss='cross_entropy' if they are classes.",
                stacklevel=3,
            )
        return kind, (f"Targets are taken as {len(values)} classes (cross-entropy).",)
    if len(values) == 2:
        warnings.warn(
            f"task {name!r}: the target is {values[0]:g} or {values[1]:g}, and is regressed; pass "
            "loss='cross_entropy' if these are classes, or loss='squared_error' if not.",
            stacklevel=3,
        )
    what = "each of several targets, added up" if several else "the target"
    return kind, (f"Regressed by half the squared error of {what}.",)


def _kept_from_training(order: np.ndarray, n_query: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the queries, ascending, and the other ones in the order in which they are drawn."""
    n_query = min(100, len(order) // 5) if n_query is None else n_query
    _require_share("n_query", n_query, len(order) - 1)
    return np.sort(order[:n_query]), order[n_query:]


def _training_rows(order: np.ndarray, n_train: int | None) -> np.ndarray:
    """Rows of the first `n_train` that are no queries, ascending; None: of all."""
    n_train = len(order) if n_train is None else n_train
    _require_share("n_train", n_train, len(order))
    return np.sort(order[:n_train])


def _given_queries(asked: Examples, given: Examples, n_query: int | None) -> np.ndarray:
    """Rows of the first `n_query` examples that never train; None: of all."""
    if (asked.columns, asked.inputs) != (given.columns, given.inputs):
        raise ValueError("query: its columns differ from those of data; give the same ones.")
    n_query = len(asked.x) if n_query is None else n_query
    _require_share("n_query", n_query, len(asked.x))
    return np.arange(n_query)


def _as_loss_needs(
    loss: str, y: np.ndarray, train_y: np.ndarray, query_y: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Targets and their labels: none of real numbers, which words are not."""
    if loss == "cross_entropy":
        return _numbered(y, train_y, query_y, name)
    if y.dtype.kind not in "fiub":
        raise ValueError(f"task {name!r}: squared error needs numbers as targets, not words.")
    return train_y, query_y, ()


def _numbered(
    y: np.ndarray, train_y: np.ndarray, query_y: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Targets as numbers of labels, and the labels of all data, sorted; refused where a query has
    one that nothing trains."""
    labels = np.unique(y)
    if len(labels) < 2 or not np.isin(query_y, labels).all():
        raise ValueError(
            f"task {name!r}: classes need two or more labels in data, and every label of the "
            "queries among them."
        )
    if len(missing := np.setdiff1d(query_y, train_y)):
        raise ValueError(
            f"task {name!r}: class {str(missing[0])!r} is among the queries, but no training "
            "point has it; train on more examples, or draw with another seed."
        )
    numbers = (np.searchsorted(labels, part) for part in (train_y, query_y))
    return (*numbers, tuple(map(str, labels)))


def _warn_of_twins(train_x: np.ndarray, query_x: np.ndarray, name: str) -> None:
    train = Counter(row.tobytes() for row in train_x)
    leaked = sum(row.tobytes() in train for row in query_x)
    twins = sum(n for n in train.values() if n > 1)
    told = []
    if leaked:
        told.append(f"{leaked} of {len(query_x)} queries have inputs that also train")
    if twins:
        told.append(f"{twins} training points have a twin, so leaving one out tells little")
    if told:
        warnings.warn(f"task {name!r}: {'; '.join(told)}.", stacklevel=3)


def _warn_of_large(train_x: np.ndarray, inputs: tuple[Input, ...], name: str) -> None:
    if not any(one.whole for one in inputs) and (most := float(np.abs(train_x).max())) >= LARGE:
        warnings.warn(
            f"task {name!r}: inputs reach {most:g}, and are not scaled; divide images of 0 to 255 "
            "by 255, or pass standardise=True.",
            stacklevel=3,
        )


def _tensor(values: np.ndarray, kind: type) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.astype(kind)))


def _standardised(train: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    train, query = train.astype(np.float64), query.astype(np.float64)
    mean, scale = train.mean(axis=0), train.std(axis=0)
    scale = np.where(scale > 0, scale, 1)  # a constant column becomes 0
    return (train - mean) / scale, (query - mean) / scale


def _require_share(what: str, got: int, most: int) -> None:
    if not 1 <= got <= most:
        raise ValueError(f"{what} = {got} is impossible here; take 1 to {most}.")


def _examples(data: Any, target: str | None, what: str, whole: bool | None) -> Examples:
    """Inputs, targets and names of columns; all examples in memory."""
    if isinstance(data, pd.DataFrame):
        return _table(data, target, what)
    if target is not None:
        raise ValueError(f"{what}: a target column was named, but {_called(data)} has no columns.")
    if isinstance(data, Dataset):
        return _items(data, what, whole)
    if isinstance(data, Sequence) and len(data) == 2:
        return _of_parts(data[0], data[1], what, whole)
    raise ValueError(
        f"{what}: {_called(data)} is no table, data set or pair (inputs, targets); give one of "
        "these or a Task."
    )


def _of_parts(inputs: Any, targets: Any, what: str, whole: bool | None) -> Examples:
    """A pair; inputs are an array, or arrays by the names of a model's arguments."""
    if isinstance(inputs, Mapping):
        arrays = {str(name): _array(one) for name, one in inputs.items()}
    else:
        arrays = {"": _array(inputs)}
    y = _targets(_array(targets), what)
    for name, one in arrays.items():
        if one.dtype == object:
            raise ValueError(
                f"{what}: inputs {name!r} have no common shape; pad them to one length, and give "
                "the mask of the padding as an input of its own."
            )
        _check(one, y, what)
    if not isinstance(inputs, Mapping) and not whole:
        return Examples(arrays[""], y)
    sides, laid_out = [], []
    for name, one in arrays.items():
        is_whole = one.dtype.kind in "iub" if whole is None else whole
        if is_whole and (np.abs(one).max() >= LARGEST_WHOLE or (one != np.round(one)).any()):
            raise ValueError(
                f"{what}: inputs {name or 'of the model'} are to stay whole numbers, but they are "
                f"not, or not below {LARGEST_WHOLE:,}."
            )
        sides.append(one.reshape(len(one), math.prod(one.shape[1:])))
        laid_out.append(Input(name, one.shape[1:], is_whole))
    return Examples(np.concatenate(sides, axis=1), y, inputs=tuple(laid_out))


def _called(data: Any) -> str:
    return f"a {type(data).__name__}"


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def _table(frame: pd.DataFrame, target: str | None, what: str) -> Examples:
    if target is None or target not in frame.columns:
        raise ValueError(
            f"{what}: name the column to predict as target=..., one of "
            f"{', '.join(map(str, frame.columns))}."
        )
    if frame.columns.duplicated().any():
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"{what}: two columns are called {twice!r}; rename or drop one.")
    inputs = frame.drop(columns=target)
    words = [c for c in inputs.columns if not pd.api.types.is_numeric_dtype(inputs[c])]
    if words:
        is_date = pd.api.types.is_datetime64_any_dtype(inputs[words[0]])
        how = (
            "turn dates into days since a fixed one"
            if is_date
            else "encode it, for example by pandas.get_dummies"
        )
        raise ValueError(f"{what}: column {words[0]!r} holds no numbers; {how}.")
    missing = [c for c in frame.columns if frame[c].isna().any()]
    if missing:
        raise ValueError(f"{what}: column {missing[0]!r} has missing values; fill or drop them.")
    x = inputs.to_numpy(dtype=np.float64)
    y = _targets(frame[target].to_numpy(), what)
    _check(x, y, what)
    plain = isinstance(frame.index, pd.RangeIndex)
    names = () if plain else tuple(map(str, frame.index))
    return Examples(x, y, tuple(map(str, inputs.columns)), names=names)


def _items(data: Dataset, what: str, whole: bool | None) -> Examples:
    if isinstance(data, IterableDataset) or not hasattr(data, "__len__"):
        raise ValueError(
            f"{what}: {_called(data)} has no length; give a data set with __len__ and __getitem__."
        )
    items = [_item(data[at], what) for at in range(len(data))]
    if not items:
        raise ValueError(f"{what}: the data set is empty.")
    for at, (x, _) in enumerate(items):
        again, _ = _item(data[at], what)
        for name, one in x.items():
            if one.shape != items[0][0][name].shape or one.dtype == object:
                raise ValueError(
                    f"{what}: inputs must be tensors or arrays of one shape; resize images "
                    "(torchvision's Resize and ToTensor), pad texts and give their mask."
                )
            if not np.array_equal(one, again[name], equal_nan=one.dtype.kind == "f"):
                raise ValueError(
                    f"{what}: reading an item twice gives two inputs, so the data set draws at "
                    "random; take augmentation out."
                )
    arrays = {name: np.stack([x[name] for x, _ in items]) for name in items[0][0]}
    targets = np.array([y for _, y in items])
    return _of_parts(arrays.get("", arrays), targets, what, whole)


def _item(item: Any, what: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs by name ("" for the only one) and target of an item."""
    if isinstance(item, Mapping):
        held = {name: one for name, one in item.items() if name != "index"}
        target = next((name for name in TARGET_NAMES if name in held), None)
        if target is None or len(held) < 2:
            raise ValueError(
                f"{what}: an item has the entries {', '.join(map(str, item))}; one of them has to "
                f"be its target, as {TARGET_NAMES[0]!r}."
            )
        y = held.pop(target)
        return {str(name): _array(one) for name, one in held.items()}, _array(y)
    if not isinstance(item, Sequence) or len(item) < 2:
        raise ValueError(
            f"{what}: items of a data set must be pairs (input, target) or dicts, at least one."
        )
    x, y = item[:2]
    if isinstance(x, Mapping):
        return {str(name): _array(one) for name, one in x.items()}, _array(y)
    return {"": _array(x)}, _array(y)


def _targets(y: np.ndarray, what: str) -> np.ndarray:
    """Targets `(example,)`, or `(example, output)` if they are several; words as texts."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype == object:
        y = y.astype(str)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(f"{what}: targets hold NaN or infinity; fill or drop these examples.")
    return y


def _check(x: np.ndarray, y: np.ndarray, what: str) -> None:
    if x.ndim < 2 or y.ndim not in (1, 2) or len(x) != len(y):
        raise ValueError(
            f"{what}: inputs of shape {x.shape} and targets of shape {y.shape} do not fit; they "
            "need (example, feature...) and (example,)."
        )
    if x.dtype.kind not in "fiub" or not np.isfinite(x).all():
        raise ValueError(f"{what}: inputs must be finite numbers; clean or encode them first.")
