"""What a learning task is: training points, query points and a loss, validated once."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dtda_lib.names import Shown, listing, unknown


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target, reduction="none")  # (example, class) -> (example,)


def _squared_error(output: Tensor, target: Tensor) -> Tensor:
    return 0.5 * (output.squeeze(-1) - target).square()  # (example, 1) -> (example,)


def _mean_square(output: Tensor, target: Tensor) -> Tensor:
    return output.square().mean(dim=-1)  # (example, residual) -> (example,); no target is needed


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "squared_error": _squared_error,
    "mean_square": _mean_square,
}


@dataclass(frozen=True, repr=False)
class Task(Shown):
    """Training and query points of one learning problem.

    Args:
        name: How notebooks and cache manifests call it.
        train_x: Inputs `(train, ...)`, float32 or float64; images `(train, channel, row, col)`.
        train_y: Targets `(train,)`: class numbers (int64) or real values.
        query_x: Inputs `(query, ...)` that never train.
        query_y: Targets `(query,)`.
        loss: A name in `LOSSES`; per-example loss in nats (cross-entropy, as published), half
            squared target units, or the mean square of outputs that are residuals themselves.
        n_outputs: Width of the model's output.
        train_id: Where each training point stands in its source; the same point has the same id in
            nested subsets.
        query_id: The same for query points.
        licence, source, checksum: Provenance, printed in notebooks.
        classes: Names of the classes by their number; none for a regression.
        columns: Names of the inputs of a table, in their order.

    Raises:
        ValueError: wrong shape or dtype, non-finite values, labels out of range; one sentence.
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    query_x: Tensor
    query_y: Tensor
    loss: str
    n_outputs: int
    train_id: tuple[int, ...] = ()
    query_id: tuple[int, ...] = ()
    licence: str = "not stated"
    source: str = "user"
    checksum: str = ""
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(unknown("loss", self.loss, LOSSES))
        for part in ("train", "query"):
            x, y = getattr(self, f"{part}_x"), getattr(self, f"{part}_y")
            _validate(f"task {self.name!r}, {part} points", x, y, self)
        if self.train_x.shape[1:] != self.query_x.shape[1:]:
            raise ValueError(
                f"task {self.name!r}: a training point has shape {tuple(self.train_x.shape[1:])} "
                f"but a query point {tuple(self.query_x.shape[1:])}; give both the same shape."
            )
        if self.train_x.dtype != self.query_x.dtype:
            raise ValueError(
                f"task {self.name!r}: training inputs are {self.train_x.dtype} but query inputs "
                f"{self.query_x.dtype}; convert one of them."
            )
        if self.columns and self.train_x.shape[1:] != (len(self.columns),):
            raise ValueError(
                f"task {self.name!r}: {len(self.columns)} columns are named but a training point "
                f"has shape {tuple(self.train_x.shape[1:])}; name each input of a table once."
            )
        for part in ("train", "query"):
            if not getattr(self, f"{part}_id"):
                ids = tuple(range(len(getattr(self, f"{part}_x"))))
                object.__setattr__(self, f"{part}_id", ids)

    @property
    def n_train(self) -> int:
        """Number of training points N."""
        return len(self.train_x)

    @property
    def n_query(self) -> int:
        """Number of query points."""
        return len(self.query_x)

    @property
    def per_example_loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """`(output, target) -> (example,)` losses."""
        return LOSSES[self.loss]

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs of a point: `columns`, or "input 0", "input 1", ..."""
        return self.columns or tuple(f"input {k}" for k in range(self.train_x[0].numel()))

    @property
    def digest(self) -> str:
        """sha256 of everything that a training or a measurement can see; names are no part."""
        seen = hashlib.sha256(f"{self.loss}|{self.n_outputs}".encode())
        for tensor in (self.train_x, self.train_y, self.query_x, self.query_y):
            array = np.ascontiguousarray(tensor.cpu().numpy())
            seen.update(f"{array.shape}{array.dtype}".encode() + array.tobytes())
        return seen.hexdigest()

    def first_of_each_class(self, per_class: int) -> list[int]:
        """Positions of the first training points of each class, in order.

        Raises:
            ValueError: a class has fewer.
        """
        found = []
        for label in self.train_y.unique().tolist():
            positions = (self.train_y == label).nonzero().flatten()[:per_class].tolist()
            if len(positions) < per_class:
                raise ValueError(
                    f"task {self.name!r}: class {label} has {len(positions)} training points, not "
                    f"{per_class}; ask for fewer."
                )
            found += positions
        return sorted(found)

    def to(self, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> "Task":
        """The same task on another device or in another floating-point type."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype if tensor.is_floating_point() else None)

        names = ("train_x", "train_y", "query_x", "query_y")
        return replace(self, **{name: move(getattr(self, name)) for name in names})

    def _facts(self) -> dict[str, object]:
        facts = {
            "name": self.name,
            "train": self.n_train,
            "query": self.n_query,
            "shape": tuple(self.train_x.shape[1:]),
            "loss": self.loss,
            "outputs": self.n_outputs,
        }
        if self.classes:
            facts["classes"] = listing(self.classes)
        if self.columns:
            facts["columns"] = listing(self.columns)
        return facts | {"source": self.source, "licence": self.licence}

    def describe(self) -> str:
        """One paragraph for a notebook: sizes, licence, source, checksum."""
        shape = "x".join(map(str, self.train_x.shape[1:]))
        return (
            f"task {self.name}: {self.n_train} training points, {self.n_query} query points of "
            f"shape {shape}, loss {self.loss}\nsource: {self.source}\nlicence: {self.licence}\n"
            f"checksum: {self.checksum or 'none'}"
        )


def _validate(where: str, x: Tensor, y: Tensor, task: Task) -> None:
    if not x.is_floating_point():
        raise ValueError(f"{where}: inputs are {x.dtype}; convert them to float32 or float64.")
    if len(x) == 0 or x.ndim < 2:
        raise ValueError(
            f"{where}: inputs have shape {tuple(x.shape)}; they need (example, feature...) with at "
            "least one example."
        )
    if y.shape != x.shape[:1]:
        raise ValueError(
            f"{where}: {len(x)} inputs but targets of shape {tuple(y.shape)}; one target each."
        )
    if not torch.isfinite(x).all():
        raise ValueError(f"{where}: inputs hold NaN or infinity; clean them first.")
    if task.loss == "cross_entropy":
        if y.dtype != torch.int64:
            raise ValueError(f"{where}: class labels are {y.dtype}; convert them to int64.")
        if int(y.min()) < 0 or int(y.max()) >= task.n_outputs:
            raise ValueError(
                f"{where}: labels span {int(y.min())}..{int(y.max())} but the model has "
                f"{task.n_outputs} outputs; relabel or set n_outputs."
            )
    elif y.dtype != x.dtype or not torch.isfinite(y).all():
        raise ValueError(f"{where}: targets must be finite and {x.dtype} like the inputs.")
