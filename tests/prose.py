"""Where each number that a person typed into the text of a notebook comes from.

A fragment of text that holds a number is *made again* by filling the fields of a template: `smoke`,
`default` and `paper` are the notebook's parameters, `fact` is what `FACTS` computes of code or of
a committed figure. What no parameter, code or file decides is said literally, under its reason.
`{x:word}` is a number in words, and a tuple is a list in words.
"""

import json
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from dtda_lib.names import PROFILE_NAMES
from dtda_lib.study.markdown import written_by
from dtda_lib.study.settings import parameters_of
from dtda_lib.study.tolerant import NUMBER

ROOT = Path(__file__).parents[1]
TO_TEN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MORE = ("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen")
WORDS = dict(enumerate(TO_TEN + MORE)) | {30: "thirty", 40: "forty", 50: "fifty", 100: "hundred"}
PATTERNS = {
    "formulas, code and links": r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)",
    "papers and their parts": (
        r"arXiv \d{4}\.\d+|\b\d{4}\.\d{5}\b|(?:NeurIPS |\(|et al\. )20\d\d\b|"
        r"(?:Figure|Theorem|Algorithm|Eq\.) \d+"
    ),
    "other notebooks": r"[Nn]otebooks? \d\d(?: to \d\d)?|\[\d\d\]",
    "names of data": r"CIFAR-10\b",
    "one divided by, and one less": r"\b1 ?/ ?(?:[A-Za-zβ]|\()|\b[1N] − [1Nhεk]|stays 1/N",
    "a removal": r"[Ww]eight 0\b|ε (?:=|→) 0\b|ε = 1/N",
    "the level of intervals and of tests": r"\b95 %|\b5 %",
}
"""Why no number of such a text needs a fragment -> the pattern."""


class Whole(int):
    """A whole number that can be written in words."""

    def __format__(self, how):
        return WORDS[int(self)] if how == "word" else format(int(self), how)


class Several(tuple):
    """Whole numbers: "10, 20 and 50", and their ends."""

    least = property(lambda self: Whole(min(self)))
    most = property(lambda self: Whole(max(self)))
    count = property(lambda self: Whole(len(self)))

    def __format__(self, how):
        told = [format(Whole(one), how) for one in self]
        return " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))


def speaking(values):
    """A name space whose whole numbers and tuples can be written as a sentence has them."""

    def told(value):
        if isinstance(value, tuple):
            return Several(value)
        return Whole(value) if isinstance(value, int) else value

    return SimpleNamespace(**{name: told(value) for name, value in values.items()})


# --- what code and files decide ------------------------------------------------------------------


def n_parameters(model, **settings):
    from dtda_lib.models.networks import Network, get_model

    made = get_model(model, **settings) if isinstance(model, str) else model
    return Network.of(made).layout.n_parameters


@cache
def published():
    """The published network and recipe."""
    from dtda_lib.runs.recipes import get_recipe

    recipe = get_recipe("published_adam")
    return {
        "cnn2l": n_parameters("cnn2l"),
        "epochs": recipe.epochs,
        "batch": recipe.batch_size,
        "lr": f"10{superscript(recipe.lr)}",
        "l2": f"{recipe.weight_decay * 1000:g}·10⁻³",
    }


def superscript(value):
    """The power of ten that a value is."""
    digits = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return f"{value:.0e}".removeprefix("1e").replace("-0", "-").translate(digits)


def facts_00(at):
    found = pd.read_csv(ROOT / "figures/paper/00_conventions-power.csv")
    found = found.query("point == 'ordinary' and form == 'unpaired' and n_seeds == 320")
    power = found.set_index("delta")["power"]
    return {"mean": round(100 * power["mean"]), "spread": round(100 * power["log_variance_ratio"])}


def left_out(at):
    return {name: 3 * p.points_per_class for name, p in at.items()}


def queries(at):
    return {f"{name}_queries": 3 * p.queries_per_class for name, p in at.items()}


def facts_09(at):
    """Trainings that are scored, on two sets of seeds, and that judge: all points, and removals."""
    found = {}
    for name, p in at.items():
        found |= {f"{name}_points": 10 * p.digits_per_class}
        found |= {f"{name}_scored": 2 * 2 * p.n_seeds}
        found |= {f"{name}_judged": p.n_seeds * (2 * (10 + p.n_random) + 1)}
    cifar = at["paper"]
    return found | {
        "vit": vit(),
        "cifar_images": 10 * cifar.cifar_per_class,
        "cifar_scored": 2 * cifar.n_cifar_seeds,
        "cifar_judged": cifar.n_cifar_seeds * (10 + cifar.n_random),
    }


def vit():
    from dtda_lib.experiments.data_pruning.experiment import Experiment
    from dtda_lib.study.settings import resolve

    given = {"profile": "smoke", "device": "cpu", "workers": 1}
    return Experiment.of(resolve(parameters_of("09_data_pruning"), **given)).n_parameters


def facts_10(at):
    from dtda_lib.experiments.diffusion.ensemble import LISTS
    from dtda_lib.experiments.diffusion.experiment import Experiment
    from dtda_lib.study.settings import resolve

    given = {"profile": "smoke", "device": "cpu", "workers": 1}
    ensemble = Experiment.of(resolve(parameters_of("10_diffusion"), **given)).ensemble
    found = {"denoiser": ensemble.network.layout.n_parameters}
    for name, p in at.items():
        removals = len(LISTS) * p.n_judged + (1 + 2) * p.n_random
        found |= {f"{name}_images": 2 * p.digits_per_class}
        found |= {f"{name}_retrained": p.n_judging_seeds * (1 + removals)}
    return found


def facts_11(at):
    def trainings(p):
        return (p.n_seeds * p.n_sets + p.n_pilot) * (1 + p.n_points)

    return (
        {f"{name}_trainings": trainings(p) for name, p in at.items()}
        | {f"{name}_seeds": p.n_seeds * p.n_sets for name, p in at.items()}
        | {f"{name}_images": 3 * p.images_per_class for name, p in at.items()}
        | {f"{name}_picked": p.n_top + p.n_random for name, p in at.items()}
    )


FACTS = {
    "00_conventions": facts_00,
    "01_noise_vs_influence": lambda at: published() | left_out(at) | queries(at),
    "02_ground_truth_vs_estimated": lambda at: (
        published() | left_out(at) | {"points": tuple(3 * size for size in at["paper"].sizes)}
    ),
    "03_sources_of_noise": lambda at: (
        published() | queries(at) | {"colour": n_parameters("cnn2l_rgb")}
    ),
    "04_variance_changing_examples": lambda at: (
        {f"{name}_digits": 3 * p.digits_per_class for name, p in at.items()}
        | {f"{name}_lines": 1 + p.n_lines for name, p in at.items()}
    ),
    "05_predicting_retrained_laws": lambda at: (
        queries(at) | {f"{name}_digits": 3 * p.per_class for name, p in at.items()}
    ),
    "06_unrolling_becomes_influence": lambda at: {
        "wide": n_parameters("mlp", widths=(8, 64, 1), activation="tanh"),
        "cnn": small_convnet(),
    },
    "08_evaluating_under_noise": lambda at: {"cnn_images": 5 * at["paper"].cnn_images},
    "09_data_pruning": facts_09,
    "10_diffusion": facts_10,
    "11_your_own_model": facts_11,
}
"""Notebook -> what its parameters at each profile, its code or its figures come to."""

MADE_AGAIN = {
    "00_conventions": (
        "{smoke.n_seeds:,} simulated runs, {smoke.n_repeats} experiments on each of two points "
        "with {smoke.seed_counts} seeds",
        "{default.n_seeds:,} simulated runs, {default.n_repeats} experiments with "
        "{default.seed_counts.least} to {default.seed_counts.most} seeds",
        "{paper.n_seeds:,} simulated runs, {paper.n_repeats:,} experiments with "
        "{paper.seed_counts.least} to {paper.seed_counts.most} seeds",
        "{paper.seed_counts.most} seeds find the ordinary point's mean",
        "({fact.mean} % of experiments)",
        "({fact.spread} %).",
    ),
    "01_noise_vs_influence": (
        "CNN2-L ({fact.cnn2l:,} parameters)",
        "learning rate {fact.lr}, L2 {fact.l2}, batches of {fact.batch}, {fact.epochs} epochs",
        "last {paper.n_checkpoints:word} epochs",
        "{fact.paper_queries} queries at `paper`, {fact.default_queries} here",
        "{paper.n_sets:word} sets of {paper.n_seeds:word} at `paper`, {default.n_sets:word} here",
        "`smoke` {smoke.sizes} points a class; `default`, this page, {default.sizes} a class, "
        "{fact.default} points left out; `paper` {paper.sizes} a class, {fact.paper} points left",
        "With {default.sizes} points a class there is one batch an epoch: {fact.epochs} full-batch",
        "up to {paper.sizes.most} points a class",
        "{paper.points_per_class:word} points of each class are left out at `paper`, not all "
        "{paper.sizes.most}",
        "{paper.n_sets:word} sets of seeds leave",
    ),
    "02_ground_truth_vs_estimated": (
        "training sets of {fact.points} points",
        "CNN2-L ({fact.cnn2l:,} parameters) and recipe (Adam, {fact.epochs} epochs), "
        "{paper.n_seeds:word} published seeds",
        "{paper.n_checkpoints:word} at `paper`, {default.n_checkpoints:word} here",
        "Hessian of {fact.cnn2l:,} parameters",
        "`smoke` {smoke.sizes} points a class; `default`, this page, {default.sizes} a class, "
        "{fact.default} points left out; `paper` {paper.sizes} a class, {fact.paper} points left",
        "the {paper.n_seeds:word} seeds",
        "With {default.sizes} points a class training is {fact.epochs} full-batch steps",
        "With {paper.sizes.least} points a class there is one batch",
        "{fact.points.least} to {fact.points.most} training points. With {paper.sizes.least} a",
    ),
    "03_sources_of_noise": (
        "There are {fact.paper_queries} queries at `paper`, {fact.default_queries} here",
        "learning rate {fact.lr}, L2 {fact.l2}, batches of {fact.batch}, {fact.epochs} epochs",
        "`smoke` {smoke.nested_sizes} points a class; `default`, this page, {default.nested_sizes} "
        "points a class, {default.n_init} × {default.n_order} crossed seeds; `paper` "
        "{paper.nested_sizes.least} to {paper.nested_sizes.most}, {paper.n_init} × "
        "{paper.n_order} crossed seeds, CNN2-L at {paper.widths.count:word} widths",
        "one full batch an epoch, {fact.epochs} steps",
        "kernel 5, {fact.colour:,} parameters",
        "{paper.nested_sizes.most} digits a class are all",
        "{paper.all_digits_size} training points times 10 queries",
        "are analysed for {paper.all_digits_size} points",
    ),
    "04_variance_changing_examples": (
        "40 points on each of {fact.paper_lines} random lines ({fact.default_lines} here)",
        "1-{default.line_width}-{default.line_width}-1 and 196-{paper.digit_width}-10",
        "`smoke` {smoke.n_seeds} + {smoke.n_seeds} seeds on one line; `default`, this page, "
        "{default.n_seeds} + {default.n_seeds} seeds on one line, {default.n_line_seeds} + "
        "{default.n_line_seeds} on {default.n_lines:word} others, {default.n_digit_sets} sets of "
        "{default.n_digit_seeds} on {fact.default_digits} digits; `paper` {paper.n_seeds:,} + "
        "{paper.n_seeds:,}, {paper.n_line_seeds} + {paper.n_line_seeds} on {paper.n_lines} others, "
        "{paper.n_again} more where these leave W2 open, "
        "{paper.n_digit_sets} sets of {paper.n_digit_seeds} on {fact.paper_digits} digits",
    ),
    "05_predicting_retrained_laws": (
        "{paper.n_train} mixes at `paper` ({paper.fewer} besides",
        "{fact.paper_digits} images. Queries at `paper`: {paper.n_query} mixes, "
        "{fact.paper_queries} digits",
        "two hidden layers of {paper.width:word} GELU units",
        "{paper.epochs} passes at `paper`. The learning rate falls from {paper.rate} to 0, weight "
        "decay is {paper.decay}",
        "random groups of {paper.percents} %",
        "{paper.n_groups:word} of each at `paper`",
        "{paper.n_sets:word} disjoint sets of {paper.n_seeds} at `paper`",
        "`smoke` {smoke.n_train} mixes; `default`, this page, {default.n_train} mixes, "
        "{fact.default_digits} digits, {default.n_sets:word} sets of {default.n_seeds:word} seeds, "
        "{default.n_groups:word} removals of each size",
        "networks of {paper.fewer.least} to {paper.n_train} mixes",
    ),
    "06_unrolling_becomes_influence": (
        "steps {paper.rate} / (1 + t / {paper.half_life}), followed",
        "It has {paper.hidden:word} units",
        "{fact.wide} parameters on Concrete, and a convolutional network of {fact.cnn:,} on digits",
        "`smoke` {smoke.long_steps} steps; `default`, this page, {default.n_seeds} runs, "
        "{default.long_steps:,} steps; `paper` {paper.n_seeds} runs, {paper.long_steps:,} steps, "
        "{paper.n_left_out} points left out",
        "With {paper.hidden:word}, all {default.n_seeds:word} runs of a pilot met the conditions "
        "after {default.long_steps:,} steps",
    ),
    "07_cold_posterior_transport": (
        "`smoke` {smoke.n_chains:,} chains of each kind; `default`, this page, "
        "{default.n_chains:,}; `paper` {paper.n_chains:,}.",
    ),
    "08_evaluating_under_noise": (
        "at `paper` {fact.cnn_images:,} digits",
        "`smoke` trains for {smoke.lengths} steps, `default`, this page, for {default.lengths}, "
        "`paper` for {paper.lengths.least} to {paper.lengths.most:,}.",
    ),
    "09_data_pruning": (
        "transformer of {fact.vit:,} parameters",
        "{fact.smoke_points} digits, {smoke.n_seeds} seeds: {fact.smoke_scored} scored trainings, "
        "{fact.smoke_judged} to judge",
        "{fact.default_points} digits, {default.n_seeds} evaluation seeds and {default.n_seeds} "
        "others: {fact.default_scored} scored trainings, {fact.default_judged} to judge",
        "{fact.paper_points} digits, {paper.n_seeds} seeds, and all {fact.cifar_images:,} images",
        "a Swin transformer: {fact.cifar_scored} scored trainings and {fact.cifar_judged} to judge",
        "windows of 4 x 4), {paper.removed_percent} % removed",
    ),
    "10_diffusion": (
        "denoiser of {fact.denoiser:,} parameters, trained by Adam for {default.n_epochs} passes",
        *(
            f"{{fact.{name}_images}} images, {{{name}.n_generators}} models that generate, "
            f"{{{name}.n_seeds}} that score, {{fact.{name}_retrained:,}} retrainings"
            for name in PROFILE_NAMES
        ),
    ),
    "11_your_own_model": (
        "{smoke.n_points} patients, {fact.smoke_seeds} + {smoke.n_pilot} seeds; "
        "{fact.smoke_images} images, {fact.smoke_picked} of them left out, {smoke.n_image_seeds} ",
        *(
            f"{{{name}.n_points}} patients{{0}} on {{fact.{name}_seeds}} + {{{name}.n_pilot}} seeds"
            f" ({{fact.{name}_trainings:,}} trainings); {{fact.{name}_images}} images, "
            f"{{fact.{name}_picked}} of them left out on {{{name}.n_image_seeds}} seeds".replace(
                "{0}", extra
            )
            for name, extra in (("default", ", each left out"), ("paper", ""))
        ),
    ),
}
"""Notebook -> templates of what its text says of parameters, code and figures, if anything."""


PAPER = "what a paper or its code says"
DATA = "what the data are, in the words of their task"
SCALE = "the end of a scale, or the value of no effect"
RULE = "a threshold that the text itself sets"
SETTING = "a setting that is no parameter; a change of it changes the key of what trains"
TESTED = "compared with the plan in tests/experiments/test_your_own_model.py"
DIGITS = "digits 0, 1 and 2"

LITERALLY = {
    "00_conventions": {
        SCALE: (
            "a *slope* in ε at 0",
            "a factor 2 up or down",
            "between 0 and 1",
            "exactly 0 at every query",
            "all targets are 0",
            "square about 1, and rarely beyond 4",
            "is never 0",
        ),
        RULE: ("in 80 % of the experiments", "90 % range"),
    },
    "01_noise_vs_influence": {
        DATA: (DIGITS,),
        RULE: (
            "influence of 0.01 nats (dotted) changes the probability of the right class by 1 %",
        ),
    },
    "02_ground_truth_vs_estimated": {
        DATA: (DIGITS, "Thirty of the 60 and 150 points"),
        SCALE: ("at 100 % it is leave-one-out",),
        PAPER: ("damping 5·10⁻³, scale 10⁴",),
    },
    "03_sources_of_noise": {
        DATA: (DIGITS, "the digits 3 to 9", "(163 MB, no licence", "28 × 28 pixels"),
        SCALE: ("less than a factor of √2", "log 3 = 1.1 nats"),
        PAPER: (
            "10 to 60 images a class",
            "below 10,000, the size",
            "the 50,000 training images",
            "from 20 to 30 and from 40 to 50",
            "and 30 epochs",
            "ViT-B/16 at 224 pixels",
        ),
        SETTING: ("small (8,842 trained parameters",),
        RULE: ("`cifar_points` above 0",),
    },
    "04_variance_changing_examples": {
        DATA: (
            f"{DIGITS} at 14 x 14 pixels",
            "y = sin 3x + 0.3 x + noise",
            "51 queries between −2.5 and 2.5",
            "far out at x = 3",
        ),
        RULE: (
            "rounded to 0.1",
            "at least 10 % above",
            "less than 0.1 standard deviations",
            "multiplied by 1.1 or more",
            "thresholds of 10 %",
            "an excess of 10 %",
        ),
    },
    "05_predicting_retrained_laws": {
        DATA: (f"{DIGITS} at 14 × 14 pixels", "about 17 MPa"),
        SETTING: ("in batches of 20",),
        SCALE: (
            "(1: predicting the mean)",
            "0 is perfect, 1 is of no use",
            "1 is perfect, 0 is no change, below 0 is worse",
            "Chance is 0.5",
        ),
        RULE: ("From 0.6 on", "the 90 % quantile"),
    },
    "06_unrolling_becomes_influence": {
        SETTING: ("batches of 25", "rank 4 in 6 features", "8 of 24 points", "linearly to 0 here"),
        SCALE: ("influence is 1 where they agree", "weight 1 − εN"),
        RULE: ("sum of steps of 5 or more", "99 % of its way", "stays below 1,"),
    },
    "07_cold_posterior_transport": {
        DATA: ("in 2, 3 and 10 dimensions", "through 30 points", "with 30 points", "all 30 points"),
        SETTING: (
            "small steps (0.05), with large steps (0.6), SGLD with batches of 4 (step 0.1)",
            "wells at −1 and 1",
            "for ε = 0.1",
            "at β = 100",
            "β = 1,000",
        ),
        SCALE: (
            "and 0 if they follow it",
            "c = 1 is the best factor",
            "temperature 0",
            "its minimum at 1.",
            "Its distance from 1 falls",
            "has rank 1",
            "function is not 0",
            "(1: it never was)",
            "βε = 1 for one point",
            "per cent off 1.",
        ),
    },
    "08_evaluating_under_noise": {
        DATA: (
            "200 mixes of UCI Concrete",
            "300 digits (0 to 4) at 7 × 7 pixels",
            "digits at 14 × 14 pixels",
            "Queries: 20, of the CNN 10",
        ),
        SETTING: ("one temperature (0.01)",),
        SCALE: ("At 1 the seed is as good as forgotten", "at R = 1 is no evidence"),
    },
    "09_data_pruning": {
        PAPER: ("5,000 images (10 %)", "over 10 models", "is 250 times as large"),
        DATA: ("(163 MB, no licence",),
        SETTING: ("for 30 epochs", "a damping of 0.1", "patches of 2 x 2, windows of 4 x 4"),
        SCALE: ("covers 0 makes", "99 % accuracy"),
    },
    "10_diffusion": {
        DATA: ("digits 0 and 1 at 14 x 14 pixels",),
        SETTING: ("16 principal components", "over 100 steps"),
        SCALE: ("1 is what predicting nothing costs", "2-Wasserstein", "exceeds 0", "stay at 0"),
    },
    "11_your_own_model": {
        DATA: ("digits 3, 5 and 8",),
        SETTING: ("studies of 100 pairs", "10 pairs among 100 whose mean shift is 1.5 standard"),
        TESTED: ("from 1.2 σ to 0.74 σ",),
    },
    "12_scoreboard": {PAPER: ("the correlation of 0.9 of C2",)},
}
"""Notebook -> reason -> fragments that no parameter, code or file makes."""


def small_convnet():
    from dtda_lib.experiments.unrolling_becomes_influence.sizes import SmallConvNet

    return n_parameters(SmallConvNet)


def made_again(notebook):
    """The fragments that parameters, code and figures make."""
    at = {profile: parameters_of(notebook).at(profile) for profile in PROFILE_NAMES}
    facts = FACTS[notebook](at) if notebook in FACTS else {}
    known = {name: speaking(vars(values)) for name, values in at.items()}
    known |= {"fact": speaking(facts)}
    return [one.format(**known) for one in MADE_AGAIN.get(notebook, ())]


def prose(path):
    """The text that a person has written into a notebook, a line for each cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    written = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return "\n".join(" ".join(one.split()) for one in written if not written_by(one))


def literal(notebook):
    """The fragments that are said literally."""
    return [one for fragments in LITERALLY.get(notebook, {}).values() for one in fragments]


def undeclared(text, fragments):
    """What is wrong: fragments that a text does not hold, and its numbers that lie in no fragment
    and match no pattern, with the words around them."""
    low, covered = text.lower(), [False] * len(text)
    missing = []
    for one in fragments:
        found = [match.span() for match in re.finditer(re.escape(one.lower()), low)]
        missing += [] if found else [f"not said: {one}"]
        for start, end in found:
            covered[start:end] = [True] * (end - start)
    for pattern in PATTERNS.values():
        for match in re.finditer(pattern, text, re.DOTALL):
            covered[match.start() : match.end()] = [True] * len(match[0])
    strange = [m for m in NUMBER.finditer(text) if not all(covered[m.start() : m.end()])]
    return missing + [text[max(0, m.start() - 30) : m.end() + 30] for m in strange]
