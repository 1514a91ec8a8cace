"""Which training points reliably matter for *your* model? Refusals, plan, answer and page."""
