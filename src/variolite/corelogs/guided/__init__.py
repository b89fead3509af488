"""Classes of a whole field from a few labelled wells."""
