"""Local files, read with a size limit and written completely or not at all."""
