"""A module as its owner wrote it, put into the form that the engine runs: one input, one output.

The engine hands a network rows of real numbers and expects a tensor. A model that takes whole
numbers or several arrays by name, or that returns a dict or an object with `.logits`, is wrapped;
buffers that never change, such as positions or the statistics of a frozen batch norm, become
constants. What needs none of this is handed back as it is.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dtda_lib.data.own import Input, own
from dtda_lib.data.task import Task

from .networks import Model, new_module

TRIED = 4  # points of each kind that a module is looked at with


class Adapted(nn.Module):
    """A module that takes rows `(example, value)` or arrays, and returns `(example, output)`.

    Args:
        inner: The owner's module.
        inputs: How a row is laid out; (): handed on as it is.
    """

    def __init__(self, inner: nn.Module, inputs: tuple[Input, ...] = ()) -> None:
        super().__init__()
        self.inner, self.inputs = inner, inputs

    def forward(self, x: Tensor) -> Tensor:
        if not self.inputs:
            return output_of(self.inner(x))
        arrays = unpacked(x, self.inputs)
        if list(arrays) == [""]:
            return output_of(self.inner(arrays[""]))
        return output_of(self.inner(**arrays))


def unpacked(x: Tensor, inputs: Sequence[Input]) -> dict[str, Tensor]:
    """Arrays by name, `(example, *shape)` each, from rows `(example, value)`; whole ones int64."""
    parts = x.split([math.prod(one.shape) for one in inputs], dim=1)
    return {
        one.name: part.reshape(len(x), *one.shape).long()
        if one.whole
        else part.reshape(len(x), *one.shape)
        for one, part in zip(inputs, parts)
    }


def output_of(returned: Any) -> Any:
    """The outputs in what a module returns: itself, `.logits`, or the entry "logits" or "output".

    Of a tuple, the first; anything else is handed on, to be refused where it is looked at.
    """
    if isinstance(returned, Tensor):
        return returned
    if hasattr(returned, "logits"):
        return returned.logits
    if isinstance(returned, Mapping):
        named = [returned[name] for name in ("logits", "output") if name in returned]
        return named[0] if named else returned
    if isinstance(returned, tuple) and returned and isinstance(returned[0], Tensor):
        return returned[0]
    return returned


def made(model: Model, inputs: tuple[Input, ...], constants: bool) -> Adapted:
    """A new adapted module; see `adapted`."""
    inner = model()
    if not isinstance(inner, nn.Module):
        raise ValueError(
            f"model factory returned {type(inner).__name__}; it must return a torch.nn.Module."
        )
    if constants:
        _buffers_to_constants(inner)
    return Adapted(inner, inputs)


def adapted(model: Model, task: Task) -> Model:
    """The factory itself, or one of `Adapted` modules where the engine needs them.

    A module is wrapped where the task has `inputs`, where it returns no tensor, and where it has
    buffers that are the same for two seeds and that a pass in its own mode leaves as they are.
    Others, as those of a batch norm in training, stay: `runs.loop` trains such modules.
    """
    if isinstance(model, functools.partial) and model.func is made:
        return model
    if isinstance(model, nn.Module):
        return model
    module = new_module(model)
    others = dict(new_module(model, 1).named_buffers())  # not those of this very module
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    returned = _returned(module, task)
    constant = all(
        torch.equal(buffer, before[name]) and torch.equal(buffer, others[name])
        for name, buffer in module.named_buffers()
    )
    held = bool(before) and constant and not collecting(module)
    inputs = own(task).inputs
    if inputs or held or not isinstance(returned, Tensor | None):
        return functools.partial(made, model, inputs, held)
    return model


def collecting(module: nn.Module) -> bool:
    """Whether a batch norm collects statistics, whatever a pass over few points shows."""
    return any(
        isinstance(one, nn.modules.batchnorm._BatchNorm) and one.training
        for one in module.modules()
    )


def _returned(module: nn.Module, task: Task) -> Any:
    """What a module returns for a few points, in its own mode; None where it fails."""
    x = torch.cat([task.train_x[:TRIED], task.query_x[:TRIED]])
    dtypes = {p.dtype for p in module.parameters() if p.is_floating_point()} or {x.dtype}
    x = x.to(min(dtypes, key=str))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        try:
            inputs = own(task).inputs
            if not inputs:
                return module(x)
            arrays = unpacked(x, inputs)
            return module(arrays[""]) if list(arrays) == [""] else module(**arrays)
        except Exception:  # said in one sentence where the model is checked
            return None


def _buffers_to_constants(module: nn.Module) -> None:
    """Parameters that do not train in place of buffers, under the same names."""
    for part in module.modules():
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                del part._buffers[name]
                part.register_parameter(name, nn.Parameter(buffer, requires_grad=False))
