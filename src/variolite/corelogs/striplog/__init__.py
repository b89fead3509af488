"""Strip logs: curves, lithology and clusters of a well against depth, as geologists print them."""
