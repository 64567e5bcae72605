"""Tracking: MLflow runs, and where what they log comes from."""
