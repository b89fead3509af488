"""From net and building units to structures that pass checks."""
