"""One explanation, from its plan to its last event."""
