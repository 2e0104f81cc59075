"""The embedded encoder's projections are trained over its frozen towers."""
