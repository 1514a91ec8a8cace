"""A `Task` out of what you have: arrays, tensors, a pandas table or a torch data set.

Everything is checked on the way in; what cannot be used is refused in one sentence. Class labels
become 0, 1, 2, ... in sorted order. Columns of a table are standardised by the training rows alone.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from dtda_lib.names import unknown

from .task import LOSSES, Task

Examples = tuple[np.ndarray, np.ndarray, tuple[str, ...]]


def as_task(
    data: Any,
    query: Any = None,
    *,
    target: str | None = None,
    n_train: int | None = None,
    n_query: int | None = None,
    loss: str | None = None,
    standardise: bool | None = None,
    seed: int = 0,
    name: str = "mine",
    licence: str = "not stated",
    source: str = "user",
) -> Task:
    """A task from a `DataFrame`, a pair (inputs, targets) of arrays or tensors, or a torch
    `Dataset` of such pairs; a `Task` is handed back as it is.

    Args:
        data: Examples. Inputs `(example, feature...)`, images `(example, channel, row, column)`.
        query: Examples of the same kind that never train; None: `n_query` of `data`, drawn by
            `seed`, are kept from training.
        target: The column of a table that is to be predicted.
        n_train: Train on this many, drawn by `seed`; None: on all that are no queries.
        n_query: Queries; None: a fifth of `data`, at most 100 (or all of `query`).
        loss: "cross_entropy" or "squared_error"; None: by the targets, real numbers being regressed
            and anything else (whole numbers, truth values, words) taken as classes.
        standardise: Mean 0 and standard deviation 1 of each input column, and of a real target,
            over the training points; None: for tables and flat inputs, not for images.
        seed: Of the draws.
        name, licence, source: Printed in notebooks.

    Returns:
        A task whose ids are row numbers of `data` (queries: of `query`, if given), with the labels
        as `classes` and the names of a table's inputs as `columns`.

    Raises:
        ValueError: one sentence; missing values, words among the inputs, too few examples, data
            sets that draw at random, a class that is asked about and never trains, and whatever
            `Task` refuses.

    Warns:
        UserWarning: the same inputs stand twice in training, or in training and among the queries.
    """
    if isinstance(data, Task):
        return data
    if loss is not None and loss not in LOSSES:
        raise ValueError(unknown("loss", loss, LOSSES))
    x, y, columns = _examples(data, target, "data")
    loss = loss or ("squared_error" if y.dtype.kind == "f" else "cross_entropy")
    order = np.random.default_rng(seed).permutation(len(x))
    if query is None:
        at, order = _kept_from_training(order, n_query)
        query_x, query_y = x[at], y[at]
    else:
        at, query_x, query_y = _given_queries(query, target, columns, n_query)
    rows = _training_rows(order, n_train)
    train_x = x[rows]
    train_y, query_y, classes = _as_loss_needs(loss, y, y[rows], query_y, name)
    _warn_of_twins(train_x, query_x, name)
    if train_x.ndim == 2 if standardise is None else standardise:
        train_x, query_x = _standardised(train_x, query_x)
        if loss == "squared_error":
            train_y, query_y = _standardised(train_y, query_y)
    kind = np.int64 if classes else np.float32
    return Task(
        name=name,
        train_x=_tensor(train_x, np.float32),
        train_y=_tensor(train_y, kind),
        query_x=_tensor(query_x, np.float32),
        query_y=_tensor(query_y, kind),
        loss=loss,
        n_outputs=len(classes) or 1,
        train_id=tuple(rows.tolist()),
        query_id=tuple(at.tolist()),
        licence=licence,
        source=source,
        classes=classes,
        columns=columns,
    )


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


def _given_queries(
    query: Any, target: str | None, columns: tuple[str, ...], n_query: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, inputs and targets of the first `n_query` examples that never train; None: of all."""
    x, y, query_columns = _examples(query, target, "query")
    if query_columns != columns:
        raise ValueError("query: its columns differ from those of data; give the same ones.")
    n_query = len(x) if n_query is None else n_query
    _require_share("n_query", n_query, len(x))
    return np.arange(n_query), x[:n_query], y[:n_query]


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


def _examples(data: Any, target: str | None, what: str) -> Examples:
    """Inputs, targets and names of columns; all examples in memory."""
    if isinstance(data, pd.DataFrame):
        return _table(data, target, what)
    if target is not None:
        raise ValueError(f"{what}: a target column was named, but {_called(data)} has no columns.")
    if isinstance(data, Dataset):
        return (*_items(data, what), ())
    if isinstance(data, Sequence) and len(data) == 2:
        x, y = (_array(part) for part in data)
        return (*_checked(x, y, what), ())
    raise ValueError(
        f"{what}: {_called(data)} is no table, data set or pair (inputs, targets); give one of "
        "these or a Task."
    )


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
    inputs = frame.drop(columns=target)
    words = [c for c in inputs.columns if not pd.api.types.is_numeric_dtype(inputs[c])]
    if words:
        raise ValueError(
            f"{what}: column {words[0]!r} holds no numbers; encode it, for example by "
            "pandas.get_dummies."
        )
    missing = [c for c in frame.columns if frame[c].isna().any()]
    if missing:
        raise ValueError(f"{what}: column {missing[0]!r} has missing values; fill or drop them.")
    x = inputs.to_numpy(dtype=np.float64)
    y = frame[target].to_numpy()
    return (*_checked(x, y, what), tuple(map(str, inputs.columns)))


def _items(data: Dataset, what: str) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(data, IterableDataset) or not hasattr(data, "__len__"):
        raise ValueError(
            f"{what}: {_called(data)} has no length; give a data set with __len__ and __getitem__."
        )
    try:
        items = [data[at] for at in range(len(data))]
        inputs, targets = zip(*((x, y) for x, y in items))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what}: items of a data set must be pairs (input, target), at least one."
        ) from error
    x = [_array(one) for one in inputs]
    if any(one.shape != x[0].shape or one.dtype == object for one in x):
        raise ValueError(
            f"{what}: inputs must be tensors or arrays of one shape; add a transform that makes "
            "them so, for example torchvision's Resize and ToTensor."
        )
    if not np.array_equal(x[0], _array(data[0][0])):
        raise ValueError(
            f"{what}: reading an item twice gives two inputs, so the data set draws at random; "
            "take augmentation out."
        )
    return _checked(np.stack(x), np.array([_array(y) for y in targets]), what)


def _checked(x: np.ndarray, y: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        raise ValueError(
            f"{what}: inputs of shape {x.shape} and targets of shape {y.shape} do not fit; they "
            "need (example, feature...) and (example,)."
        )
    if x.dtype.kind not in "fiub" or not np.isfinite(x).all():
        raise ValueError(f"{what}: inputs must be finite numbers; clean or encode them first.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(f"{what}: targets hold NaN or infinity; fill or drop these examples.")
    if y.dtype == object:
        y = y.astype(str)
    return x, y
