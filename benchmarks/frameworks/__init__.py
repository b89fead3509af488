"""The contest against the rebuilt source, and the throughput of training."""
