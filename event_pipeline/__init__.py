"""Events to trusted tables: a Dagster asset graph, Bronze -> Silver -> Gold."""
