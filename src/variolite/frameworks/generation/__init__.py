"""New rows of frameworks: the model with its prior and surrogates, sampling, scores."""
