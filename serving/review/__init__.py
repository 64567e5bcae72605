"""Review: people judge slices of finished segmentations: which are worth a look, who has them, and what was said."""
