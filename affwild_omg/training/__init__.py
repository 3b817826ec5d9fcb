"""Training: from records to a workdir with a trained model."""
