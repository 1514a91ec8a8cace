"""One folder a notebook: its parameters, computations, claims, plots and words."""
