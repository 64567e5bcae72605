"""Auth: keys, on whose behalf a request comes, and how much a key may ask for."""
