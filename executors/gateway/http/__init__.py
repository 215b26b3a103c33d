"""The HTTP side: routes, bodies, limits, and the description of the API."""
