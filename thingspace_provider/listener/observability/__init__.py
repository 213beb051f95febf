"""JSON log and the endpoint for metrics."""
