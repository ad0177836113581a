"""The models directory of a server: versions found in it, loaded by policy, watched."""
