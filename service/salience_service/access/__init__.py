"""Who may come in, and what they may ask: certificates, tokens, principals; no gRPC."""
