"""What produced the outputs of a notebook: for its reader, and for the programs that run it."""

import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtda_lib import __version__

from .artefacts import ROOT

if TYPE_CHECKING:
    from .settings import Config

SUMMARY_MIME = "application/vnd.dtda.summary+json"
"""MIME type of the machine-readable summary that `provenance` leaves in the executed notebook."""


def provenance(cfg: "Config", banks: Iterable[Any] = (), checks: Any = None) -> None:
    """Print what produced this notebook's outputs, and leave a machine-readable summary in it."""
    import torch

    from .evidence import EVIDENCE

    banks = list(banks)
    seconds = time.monotonic() - cfg.started
    packages = ("torch", "numpy", "scipy", "xarray", "matplotlib")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"versions   python {platform.python_version()}, {versions}, dtda_lib {__version__}")
    print(f"platform   {platform.system()} {platform.machine()}, {cpu_model()}")
    print(f"device     {cfg.device}, {torch.get_num_threads()} threads, {cfg.workers} workers")
    print(f"source     {git_state(cfg.notebook)}")
    print(f"settings   {cfg.name}, hash {cfg.hash}")
    # Its commit and state are not told: evidence is made and kept after a notebook was executed.
    print(f"evidence   figures/{EVIDENCE}/{cfg.notebook}.claims.json; what is due: due.json there")
    for bank in banks:
        stats = bank.stats
        cached, trained = stats["runs_cached"], stats["runs_trained"]
        shards = _count(len(stats["shards"]), "shard")
        took = f"{stats['seconds']:.1f} s"
        print(f"bank       {bank.title}: {cached} cached, {trained} trained, {shards}, {took}")
    print(f"time       {seconds:.1f} s since the settings were read")

    summary = {
        "notebook": cfg.notebook,
        "profile": cfg.profile,
        "name": cfg.name,
        "seconds": round(seconds, 1),
        "runs_cached": sum(bank.stats["runs_cached"] for bank in banks),
        "runs_trained": sum(bank.stats["runs_trained"] for bank in banks),
        "shards": [str(key) for bank in banks for key in bank.stats["shards"]],
        "checks_passed": getattr(checks, "passed", 0),
        "checks_total": getattr(checks, "total", 0),
        "claims": {claim.id: claim.status for claim in getattr(checks, "claims", ())},
    }
    text = "checks     {checks_passed} of {checks_total} passed".format(**summary)
    if (ipython := sys.modules.get("IPython")) and ipython.get_ipython():
        ipython.display.display({SUMMARY_MIME: summary, "text/plain": text}, raw=True)
    else:
        print(text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_model() -> str:
    """Name of the processor, as far as the system tells."""
    if platform.system() == "Darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or "CPU of unknown model"
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or "CPU of unknown model"


def git_state(notebook: str) -> str:
    """The commit that a notebook runs from, and whether its sources differ from it."""
    # Only a checkout of this project counts, not one that happens to hold an installed copy.
    commit = None
    if (ROOT / ".git").exists():
        commit = _output("git", "rev-parse", "--short", "HEAD")
    if commit is None:
        return "no git checkout"
    return f"commit {commit}{' with uncommitted changes' if changed_sources([notebook]) else ''}"


def changed_sources(notebooks: Iterable[str]) -> list[str]:
    """Files that differ from their commit: the package, and the notebooks of these names.

    What notebooks write is no source: re-executing several of them changes the results of the
    first. Empty without a git checkout.
    """
    source = ("dtda_lib", *(f"notebooks/{name}.ipynb" for name in notebooks))
    listed = _output("git", "status", "--porcelain", "--", *source) or ""
    return [line.split(maxsplit=1)[1] for line in listed.splitlines()]
