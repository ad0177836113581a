"""A finished map on its way out: grid, scale, encoding, picture."""
