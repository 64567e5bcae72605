"""Inference: requests of all scans and single slices, batched, scheduled and computed on the devices."""
