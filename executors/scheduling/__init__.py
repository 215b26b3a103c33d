"""Who comes next where many requests wait: turns, and threads that requests share."""
