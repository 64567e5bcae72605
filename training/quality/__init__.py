"""Quality: examples of good and bad masks, and what the Quality Classifier is shown and scored on."""
