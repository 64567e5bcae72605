"""Tables 1 and 2 of the paper, each figure of a Student beside its control, over several seeds."""
