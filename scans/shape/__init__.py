"""What an organ's shape is, told by its surface, and what a fish's organs measure along the axes of its body."""
