"""How many workers an installation needs, from measured rates, on paper."""
