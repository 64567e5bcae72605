"""Queue: accepted scans wait, are leased by workers, and are removed."""
