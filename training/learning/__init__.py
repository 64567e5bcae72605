"""Learning: networks, losses, patches, and the one loop that trains them all."""
