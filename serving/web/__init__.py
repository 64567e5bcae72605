"""Web: the page for people, made on the server. It asks nothing that the API does not answer, and nobody else."""
