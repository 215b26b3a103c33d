"""What can be typed: commands, options, their defaults and their help."""
