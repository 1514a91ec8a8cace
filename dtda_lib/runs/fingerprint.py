"""What a result depends on, as short stable strings: canonical JSON, data and code fingerprints.

A digest follows code from where it is entered, through everything that it names, holds or
inherits, to values. It sees *what* is computed, not how it is written down (`syntax_form`) nor
where: moving, renaming or reformatting code changes no digest. Installed packages count by name and
version (`origin`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from dtda_lib.models.networks import Layout, Model, initial_theta
from dtda_lib.runs.keys.canonical import canonical, sha256
from dtda_lib.runs.keys.content import Content, content_of

from .measures import Measure


def source_digest(*things: object, opaque: Sequence[object] = ()) -> str:
    """Digest of functions, classes and values, of the code that they reach and what that uses.

    Followed are global and captured names, defaults, class attributes, methods and base classes,
    properties, partial arguments, the object of a bound method, what objects hold, and imports
    inside functions. Values count by content: numbers, texts, arrays, tensors, containers, and
    objects by what they would be pickled as. Loggers and locks count by type. Two graphs of things
    that cannot be told apart by following them have one digest, whatever is shared in memory.

    Things in `opaque` count by name alone, and what they hold is not followed: machinery that
    decides no number.

    Not seen: modules or attributes that code finds by a name it computes, and files that it reads.

    Raises:
        ValueError: a value has no content that could be compared, such as a generator.
    """
    return _Graph(opaque).digest(things)


class _Graph:
    """Things and what they hold, each once, so that recursion ends."""

    def __init__(self, opaque: Sequence[object] = ()) -> None:
        self.opaque = {id(thing) for thing in opaque}
        self.number: dict[int, int] = {}
        self.things: list[tuple[Any, str]] = []  # kept, so that no id is used twice

    def digest(self, things: Iterable[object]) -> str:
        """Digest of what can be reached.

        Each thing is named by a hash of its label and the names of what it holds, again and again
        until no more things are told apart; then names and what they were made of say it all.
        """
        roots = [
            self._place(thing, getattr(thing, "__qualname__", type(thing).__name__))
            for thing in things
        ]
        nodes: list[Content] = []
        held: list[list[int]] = []
        while len(nodes) < len(self.things):
            thing, where = self.things[len(nodes)]
            hidden = Content(f"opaque {getattr(thing, '__qualname__', '')}", [])
            node = hidden if id(thing) in self.opaque else content_of(thing, where)
            nodes.append(node)
            held.append([self._place(thing, where) for where, thing in node.held])
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


def model_identity(model: Model) -> dict[str, object]:
    """Shapes, code and starting points of a model factory; see `source_digest`.

    What the factory makes counts as well, drawn under two fixed seeds: weights and settings that it
    reads from a file or the environment are seen where they make a difference.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = model()
    return {
        "shapes": [list(shape) for shape in Layout.of(module).shapes],
        "factory": source_digest(model),
        "made": source_digest(module, initial_theta(model, 1)),
    }


def measure_identity(measure: Measure) -> dict[str, object]:
    """Name, axes and source of a measure; see `source_digest`."""
    return {
        "name": measure.name,
        "dims": list(measure.dims),
        "source": source_digest(measure.function),
    }
