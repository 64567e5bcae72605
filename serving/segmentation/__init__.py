"""Segmentation: a scan becomes a segmentation slab by slab, is judged, and is handed out in any format."""
