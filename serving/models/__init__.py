"""Models: which version serves, how it gets here, and how it is put in the place of the one before."""
