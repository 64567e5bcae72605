"""Data: raw data sets, the prepared store, the split, pseudo-labels."""
