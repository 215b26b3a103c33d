"""From published files to entries of the model repository, a converter for each kind of model."""
