"""What is told to Prometheus and OpenTelemetry by processes that come and go: trainings, flows, stages, searches."""
