"""The straightforward scripts that the engine is measured against: one model after the other.

Called by engine.py in a process of its own. Imports nothing of this project, because that would
set OMP_WAIT_POLICY, which a reader's own script does not.

    python plain.py mlp|cnn2l|grad_dot DATA.npz COUNT EPOCHS THREADS    (THREADS 0: the default)
"""

import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class CNN(nn.Module):
    """CNN2-L for MNIST, as in the published code."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(1600, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.gelu(self.conv1(x)), 2)
        x = F.max_pool2d(F.gelu(self.conv2(x)), 2)
        return self.fc2(F.gelu(self.fc1(x.flatten(1))))


def perceptron():
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)
    )


def half_squares(output, y):
    return 0.5 * (output[:, 0] - y) ** 2


def cross_entropies(output, y):
    return F.cross_entropy(output, y, reduction="none")


def leave_one_out(data, build, optimise, losses, point, epochs):
    """Train a model without one point; losses of the queries."""
    x, y, query_x, query_y = data
    torch.manual_seed(point)
    weight = torch.ones(len(x))
    weight[point % len(x)] = 0
    model = build()
    optimiser = optimise(model.parameters())
    loader = DataLoader(TensorDataset(x, y, weight), batch_size=32, shuffle=True)
    for _ in range(epochs):
        for batch_x, batch_y, batch_weight in loader:
            optimiser.zero_grad()
            loss = (batch_weight * losses(model(batch_x), batch_y)).mean()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        return losses(model(query_x), query_y)


def mlp(data, count, epochs):
    for point in range(count):
        leave_one_out(
            data, perceptron, lambda p: torch.optim.SGD(p, lr=1e-2), half_squares, point, epochs
        )
    return count


def cnn2l(data, count, epochs):
    def adam(parameters):
        return torch.optim.Adam(parameters, lr=1e-3, weight_decay=5e-3)

    for point in range(count):
        leave_one_out(data, CNN, adam, cross_entropies, point, epochs)
    return count


def grad_dot(data, count, _):
    """Dot product and cosine for `count` queries and all training points: the double loop."""
    x, y, query_x, query_y = data
    model = CNN()

    def gradient(one_x, one_y):
        model.zero_grad()
        F.cross_entropy(model(one_x[None]), one_y[None]).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    for q in range(count):
        of_query = gradient(query_x[q], query_y[q])
        for k in range(len(x)):
            of_train = gradient(x[k], y[k])
            dot = of_query @ of_train
            dot / (of_query.norm() * of_train.norm())
    return count * len(x)


def main(name, path, count, epochs, threads):
    if int(threads):
        torch.set_num_threads(int(threads))
    file = np.load(path)
    data = [torch.from_numpy(file[key]) for key in ("x", "y", "query_x", "query_y")]
    script = {"mlp": mlp, "cnn2l": cnn2l, "grad_dot": grad_dot}[name]
    short = [data[0][:32], data[1][:32], *data[2:]]
    script(short, 1, 1)  # warm-up: what is measured is the training, not the start of torch
    start = time.perf_counter()
    done = script(data, int(count), int(epochs))
    seconds = time.perf_counter() - start
    print(json.dumps({"rate": done / seconds, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
