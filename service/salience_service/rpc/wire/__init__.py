"""The wire: messages of the contract become values of ours, and values messages."""
