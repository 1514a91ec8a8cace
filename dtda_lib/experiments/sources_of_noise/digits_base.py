"""The small vision transformer that the study fine-tunes, pretrained once and shipped.

It is what `pretraining.pretrained_digits()` made on one machine (held-out accuracy 95 % on the
digits 3 to 9). Pretraining is chaotic: another kind of CPU rounds otherwise and ends with other
weights, accuracy 86 % against 88 % after ten epochs in one comparison. Like any other pretrained
model, the base is therefore data: with it, results can be compared across machines, and no run
waits a minute for it.

Remade by `python -m dtda_lib.digits_base`. Weights: MIT; made from MNIST, CC BY-SA 3.0.
"""

import importlib.resources
import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dtda_lib.models.vision_transformer import Base

from .pretraining import DIGITS_VIT, pretrained_digits

FILE = "digits-vit.safetensors"


def digits_base() -> Base:
    """The shipped base; its `accuracy` is on held-out digits 3 to 9."""
    folder = importlib.resources.files("dtda_lib") / "data" / "files"
    with importlib.resources.as_file(folder / FILE) as path, safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["about"])
    return Base.of(DIGITS_VIT, weights, about["accuracy"])


def write_digits_base(path: Path) -> Base:
    """Pretrain (or take from the cache) and write the file that `digits_base` reads."""
    base = pretrained_digits()
    weights = {name: w.to(torch.float32).contiguous() for name, w in base.weights().items()}
    about = {
        "accuracy": base.accuracy,
        "made_by": "python -m dtda_lib.digits_base",
        "licence": "MIT; made from MNIST, CC BY-SA 3.0",
    }
    # One entry, because safetensors writes several in any order.
    save_file(weights, path, {"about": json.dumps(about)})
    return base


if __name__ == "__main__":
    target = Path(
        sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2] / "data" / "files" / FILE
    )
    written = write_digits_base(target)
    print(f"{target.name}: accuracy {written.accuracy:.3f}, digest {written.digest[:16]}")
