"""Networks as pure functions of one flat vector theta, and the networks that the study uses."""
