"""Uptakes of gases by grand-canonical Monte Carlo."""
