"""What training and serving share: volumes, their formats, geometry, normalisation, tiling and metrics."""
