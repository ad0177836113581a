"""`salience bench --tune`: batch sizes and threads, measured once and kept beside the bundle."""
