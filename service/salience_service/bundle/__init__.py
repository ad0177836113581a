"""Bundles: what the exporter writes and the service opens (design §2)."""
