"""Served models: a bundle opened, warmed up and checked before it serves."""
