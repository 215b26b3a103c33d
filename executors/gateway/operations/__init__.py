"""What the gateway does for a request, whichever protocol brought it."""
