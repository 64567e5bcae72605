"""Measures: what is counted on segmentations: scores against labels, surface distances, organ statistics."""
