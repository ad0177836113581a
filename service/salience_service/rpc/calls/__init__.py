"""A call: who makes it, what it may, where it runs, how its answer goes out and ends."""
