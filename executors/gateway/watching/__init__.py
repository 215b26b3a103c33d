"""What `GET /watch` tells: the state of the service as events, each time that a part of it changes."""
