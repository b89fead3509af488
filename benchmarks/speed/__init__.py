"""Speed of training: our engine beside a plain PyTorch loop, pythae, scvi-tools and plain C."""
