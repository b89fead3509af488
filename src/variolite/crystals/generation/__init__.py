"""What comes after training: a prior over latents, generation, properties, interpolation."""
