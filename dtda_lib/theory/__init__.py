"""Problems whose laws are known in closed form or by quadrature: oracles of everything else."""
