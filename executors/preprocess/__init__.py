"""Image bytes to an upright RGB tensor of the size that the model takes."""
