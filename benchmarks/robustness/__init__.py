"""What happens to runs and results when the machine fails: kills, full disks, flipped bits."""
