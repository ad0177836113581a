"""What a server tells of its work: metrics, traces, logs; and the seam they and the audit share."""
