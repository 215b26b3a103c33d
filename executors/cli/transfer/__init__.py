"""`visual-search export` and `import`: collections as lines of JSON."""
