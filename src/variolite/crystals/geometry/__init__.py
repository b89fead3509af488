"""Cells and distances of crystals: reduced and primitive cells, the canonical frame, images."""
