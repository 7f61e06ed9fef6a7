"""Training: data sets, trainers, evaluation."""
