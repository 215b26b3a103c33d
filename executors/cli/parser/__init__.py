"""The command line's parser: commands, options, their defaults and their help."""
