"""MLflow, which may be away: reports wait in a file until they are sent."""
