"""Many trainings: recipe, removal, seeds, measures, the trainer, and banks that keep results."""
