"""Conversion of published files to entries of the model repository, with a converter for each kind of model."""
