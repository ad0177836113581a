"""The admin service: which versions serve, and how the server fares; on a port of its own."""
