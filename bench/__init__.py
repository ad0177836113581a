"""Figures of speed, memory, latency and quality, as ratios within one run, beside peers."""
