"""Planning: which candidate to measure next, for the money that is left."""
