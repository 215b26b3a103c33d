"""The preprocess stage: it turns image bytes into an upright RGB tensor of the model's input size."""
