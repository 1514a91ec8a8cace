"""What a result depends on, as short stable strings: canonical JSON, data and code fingerprints.

A digest follows code from where it is entered, through everything that it names, holds or
inherits, to values. It sees *what* is computed, not how it is written down (`syntax_form`) nor
where: moving, renaming or reformatting code changes no digest. Installed packages count by name and
version (`origin`).
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Layout, Model, Network, initial_theta, new_module
from dtda_lib.models.user_code import user_code
from dtda_lib.runs.keys.canonical import canonical, sha256
from dtda_lib.runs.keys.content import Content, content_of

from .measures import Measure, take

_TRIED = 2  # points of each kind on which a network shows what it does


def source_digest(
    *things: object,
    opaque: Sequence[object] = (),
    tables: Sequence[Mapping[str, object]] = (),
    named: str = "",
) -> str:
    """Digest of functions, classes and values, of the code that they reach and what that uses.

    Followed are global and captured names, defaults, class attributes, methods and base classes,
    properties, partial arguments, the object of a bound method, what objects hold, and imports
    inside functions. Values count by content: numbers, texts, arrays, tensors, containers, and
    objects by what they would be pickled as. Loggers, locks and operator libraries count by type,
    and within a list or a set not at all: processes fill those as they run. Two graphs of things
    that cannot be told apart by following them have one digest, whatever is shared in memory.

    Not seen: modules or attributes that code finds by a name it computes, and files that it reads.

    Args:
        things: Where code is entered.
        opaque: Things that count by name alone, and whose contents are not followed: machinery that
            decides no number.
        tables: Dicts from a name to what it stands for, such as `ESTIMATORS`. Only those of their
            entries count whose names stand, as whole texts, in what is followed or in `named`:
            adding an estimator changes nothing for whoever does not ask for it.
        named: Source code in which such names may stand as well.

    Raises:
        ValueError: a value has no content that could be compared, such as a generator.
    """
    return _Graph([*opaque, *tables]).digest(things, tables, named)


class _Graph:
    """Things and what they hold, each once, so that recursion ends."""

    def __init__(self, opaque: Sequence[object] = ()) -> None:
        self.opaque = {id(thing) for thing in opaque}
        self.number: dict[int, int] = {}
        self.things: list[tuple[Any, str]] = []  # kept, so that no id is used twice

    def digest(
        self,
        things: Iterable[object],
        tables: Sequence[Mapping[str, object]] = (),
        named: str = "",
    ) -> str:
        """Digest of what can be reached; see `source_digest`.

        Each thing is named by a hash of its label and the names of what it holds, again and again
        until no more things are told apart; then names and what they were made of say it all.
        """
        roots = [
            self._place(thing, getattr(thing, "__qualname__", type(thing).__name__))
            for thing in things
        ]
        entries = {
            (n, key): value for n, table in enumerate(tables) for key, value in table.items()
        }
        nodes: list[Content] = []
        held: list[list[int]] = []
        asked: dict[tuple[int, str], int] = {}  # entry of a table -> its place
        while True:
            read = len(nodes)
            while len(nodes) < len(self.things):
                thing, where = self.things[len(nodes)]
                hidden = Content(f"opaque {getattr(thing, '__qualname__', '')}", [])
                node = hidden if id(thing) in self.opaque else content_of(thing, where)
                nodes.append(node)
                held.append([self._place(thing, where) for where, thing in node.held])
            texts = "\n".join([named, *(node.label for node in nodes[read:])])
            more = [entry for entry in entries if entry not in asked and f"'{entry[1]}'" in texts]
            if not more:
                break
            named = ""
            asked |= {entry: self._place(entries[entry], entry[1]) for entry in more}
        roots += [asked[entry] for entry in sorted(asked)]
        labels = [sha256(node.label) for node in nodes]
        names = labels
        while True:
            again = []
            for node, label, parts in zip(nodes, labels, held):
                inner = [names[part] for part in parts]
                text = "".join([label, *(inner if node.ordered else sorted(inner))])
                again.append(sha256(text) if parts else label)
            if len(set(again)) == len(set(names)):
                return sha256(canonical([[names[r] for r in roots], sorted({*zip(names, again)})]))
            names = again

    def _place(self, thing: Any, where: str) -> int:
        if id(thing) not in self.number:
            self.number[id(thing)] = len(self.things)
            self.things.append((thing, where))
        return self.number[id(thing)]


# --- identities -----------------------------------------------------------------------------------


def model_identity(
    model: Model, network: Network | None = None, start: Tensor | None = None
) -> dict[str, object]:
    """Shapes, code and starting points of a model factory; see `source_digest`.

    What the factory makes counts as well, drawn under two fixed seeds: weights and settings that it
    reads from a file or the environment are seen where they make a difference.

    Args:
        model: The factory.
        network, start: It as a function of theta, and theta `(parameter,)` under seed 1, in
            float32; None: as `Network.of` and `initial_theta` say.
    """
    module = new_module(model)
    layout = Layout.of(module) if network is None else network.layout
    start = initial_theta(model, 1) if start is None else start
    return {
        "shapes": [list(shape) for shape in layout.shapes],
        "factory": source_digest(model),
        "made": source_digest(module, start),
    }


def measure_identity(measure: Measure) -> dict[str, object]:
    """Name, axes and source of a measure; see `source_digest`."""
    return {
        "name": measure.name,
        "dims": list(measure.dims),
        "source": source_digest(measure.function),
    }


def behaviour(
    model: Model,
    task: Task,
    measures: Sequence[Measure],
    seen_as: Callable[[torch.dtype], tuple[Network, Tensor] | None] = lambda dtype: None,
) -> dict[str, object]:
    """What a network and measures of one's own do at the initial parameters of seed 1.

    So a key sees what no code shows, such as a file or a variable of the environment that `forward`
    reads: outputs, losses and gradients on a few points, and the measures. Those along "train",
    which may take long, are taken on the task of these few points alone. In float64, and to six
    digits of the largest entry: rounding differs from machine to machine, and no key should.

    Args:
        model, task, measures: Of a bank.
        seen_as: The network and theta of seed 1 in a precision; None: as `Network.of` says.

    Returns:
        Plain data; "unknown" where a network or a measure cannot be run in float64, or a measure
        along "train" not with few points.

    Raises:
        ValueError, RuntimeError: a measure fails, or is not what it declares (`measures.take`);
            one along "train" says so when it is first taken.
    """
    double = torch.float64
    network, theta = seen_as(double) or (
        Network.of(lambda: new_module(model, 1).to(double)),
        initial_theta(model, 1, double),
    )
    few = _few_points(task).to(dtype=double)
    x, y = torch.cat([few.train_x, few.query_x]), torch.cat([few.train_y, few.query_y])
    seen: dict[str, object] = {"network": "unknown"}
    with torch.random.fork_rng(devices=[]), contextlib.suppress(RuntimeError):
        seen["network"] = _response(network, theta, x, y, task)
    for m in measures:
        if not m.is_own:
            continue
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            if "train" in m.dims:
                seen[m.name] = "unknown"
                with contextlib.suppress(RuntimeError, ValueError):
                    seen[m.name] = _digits(take(m, network, theta, few))
                continue
            try:
                value = take(m, network, theta, task.to(dtype=double))
                seen[m.name] = _digits(_kept(m, value))
            except RuntimeError:  # only of this precision, perhaps
                single = task.train_x.dtype
                own, start = seen_as(single) or (Network.of(model), theta.to(single))
                _kept(m, take(m, own, start, task))
                seen[m.name] = "unknown"
    return seen


def _kept(m: Measure, value: Tensor) -> Tensor:
    """What a measure of one's own returned, if it is an array with values.

    Raises:
        ValueError: a tensor without values, or one that is no array; said what to return instead.
    """
    if value.layout is not torch.strided or value.is_meta:
        kind = "meta" if value.is_meta else str(value.layout).removeprefix("torch.")
        raise ValueError(f"measure {m.name!r} returned a {kind} tensor; return a dense one.")
    if not value.numel():
        raise ValueError(
            f"measure {m.name!r} returned no value: its shape is {tuple(value.shape)}."
        )
    return value


def _few_points(task: Task) -> Task:
    parts = ("train_x", "train_y", "train_id", "query_x", "query_y", "query_id")
    return replace(task, **{part: getattr(task, part)[:_TRIED] for part in parts})


def _response(network: Network, theta: Tensor, x: Tensor, y: Tensor, task: Task) -> list[object]:
    """Outputs, losses and the norm of each parameter's gradient."""
    theta = theta.detach().requires_grad_()
    with torch.enable_grad(), user_code(network.name):
        outputs = network(theta, x)
        losses = task.per_example_loss(outputs, y)
        (gradient,) = torch.autograd.grad(losses.sum(), theta)
    norms = torch.stack([part.norm() for part in network.layout.unflatten(gradient).values()])
    return [_digits(outputs), _digits(losses), _digits(norms)]


def _digits(values: Tensor) -> list[object]:
    """Values to six digits of the largest, which comes first."""
    flat = values.detach().flatten().double()
    largest = float(flat.abs().max()) if len(flat) else 0.0
    if not 1e-12 < largest < math.inf:  # zeros, or what only rounding made of them
        return [0.0 if largest <= 1e-12 else str(largest)]
    return [f"{largest:.5e}", *(flat / largest * 1e6).round().long().tolist()]
