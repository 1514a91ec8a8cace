"""What the methods of notebook 08 are called and how they look, in the order of rows."""

from dataclasses import replace

from dtda_lib.study.methods import METHODS, Method, Table

# Gradients, steps, influence functions, unrolling, truth.
_ORDER = (
    "grad_dot grad_cos ats_sgd ats_adam trak bif if_ggn if_damped rif if_ekfac if_hessian "
    "source unrolling"
)
_RETRAINED = {"label": "retrained run itself", "words": "the retrained run itself"}
LOOKS: Table[Method] = Table(
    "method",
    {name: METHODS[name] for name in _ORDER.split()}
    | {"retrained": replace(METHODS["loo"], **_RETRAINED)},
)
