"""The server: its port and process, its health, and how it leaves."""
