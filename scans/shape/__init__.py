"""What an organ's shape is, told by its surface."""
