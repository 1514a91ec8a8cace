"""Record a function of tensors once, replay it without bookkeeping."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

_ATEN = torch.ops.aten
_RESHAPES = (_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.expand.default)


def record(function: Callable[..., Tensor], *example: Tensor) -> Callable[..., Tensor]:
    """The operations of `function` on tensors of these shapes, as a flat replayable graph.

    `vmap` and autograd decide anew at each call what to do; for the small networks that are
    trained thousands at a time these decisions cost as much as the arithmetic. The recorded graph
    does the same arithmetic in the same order. Steps that change nothing (a view with the same
    shape, multiplication by one) are dropped.

    Raises:
        ValueError: the function's course depends on the *values* of its tensors, which neither
            recording nor vmap can follow.
    """
    try:
        # make_fx counts the arguments of a bound method wrongly, hence the lambda.
        graph = make_fx(lambda *tensors: function(*tensors))(*example)
    except RuntimeError as error:
        if "data-dependent" in str(error) or "value out of a tracing tensor" in str(error):
            raise ValueError(
                "the model or loss branches on the values of its tensors (an `if` or `.item()`), "
                "so runs cannot be stacked; write it with torch.where, or train with chunk=1."
            ) from error
        raise
    return _without_no_ops(graph)


def _without_no_ops(module: GraphModule) -> GraphModule:
    for node in list(module.graph.nodes):
        if node.op != "call_function" or "val" not in node.meta:
            continue
        source, result = node.args[0], node.meta["val"]
        if node.target in _RESHAPES:
            before = source.meta["val"]
            same = before.shape == result.shape and before.stride() == result.stride()
        else:
            same = node.target is _ATEN.mul.Tensor and node.args[1] == 1
            same = same and source.meta["val"].dtype == result.dtype
        if same:
            node.replace_all_uses_with(source)
            module.graph.erase_node(node)
    module.recompile()
    return module
