"""MLflow: runs and their curves, registered models, and who is champion. The only place that imports it."""
