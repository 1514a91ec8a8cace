"""What single notebooks compute, decide and draw: tables, claims by rule, plots.

Each question of the study has a few modules here, named alike: `x` makes tables from banks,
`x_claims` holds the rules of its claims, `x_plots` its figures. Everything more general stands in
the package above, and nothing there imports from here.
"""
