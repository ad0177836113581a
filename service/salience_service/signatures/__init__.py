"""Signatures of bundles: Ed25519 keys in files, what a signature says, and whom to believe."""
