"""The floors of the package: the one list that the tests hold and the architecture page draws."""

FLOORS: dict[str, str] = {
    "names": "canonical names of axes, profiles and streams; refusing a name, showing an object",
    "data": "tasks: named ones, data of your own, images; where the data come from",
    "statistics": "tests, error rates, power, agreement, intervals over seeds, distances of laws",
    "models": "networks as pure functions of theta, and the networks that the study uses",
    "theory": "testbeds in closed form, Boltzmann laws, Langevin chains",
    "runs": "recipe, removal, seeds, measures, training, banks of runs, their store and keys",
    "attribution": "estimators, one file a family; one registry",
    "study": "settings, methods, checks, claims, wording, figures, provenance, pages, batch run",
    "ask": "your own data, model or arrays: refusals, plan, screening, answer, page",
    "experiments": "one folder a notebook: parameters, computations, claims, plots, words",
}
"""Floor -> what it holds, lowest first. Each imports from the floors below it and from itself."""

SHARED_EXPERIMENTS: dict[tuple[str, str], str] = {
    ("data_pruning", "sources_of_noise"): "where the images of CIFAR-10 are",
    ("ground_truth_vs_estimated", "noise_vs_influence"): "late checkpoints, levels of tests",
    ("sources_of_noise", "noise_vs_influence"): "score arrays, shares beyond noise",
}
"""(experiment, the one that it imports from) -> what it takes from there; no other pair may."""
