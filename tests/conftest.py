"""Every test gets its own empty cache, and leaves the global random state as it found it."""

import os

import numpy as np
import pytest
import torch
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
torch.set_num_threads(1)

# Checks of a state of the project must not depend on luck; by hand every run tries other examples.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI") or os.environ.get("DTDA_CHECK"):
    settings.load_profile("ci")


def pytest_collection_modifyitems(items):
    """Files with slow tests first, so that no process waits for the last of them alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # stable: a file stays together


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DTDA_BATCH", "1")


@pytest.fixture(autouse=True)
def global_random_state_is_untouched(request):
    before, legacy = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    yield
    if "hypothesis" in request.keywords:  # hypothesis seeds the global streams itself
        return
    assert torch.equal(before, torch.get_rng_state()), "the test drew from torch's global stream"
    after = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(legacy, after, strict=True))
