"""Scores of finished maps."""
