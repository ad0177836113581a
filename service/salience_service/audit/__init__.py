"""The audit trail: a record of what is done, in lines chained so that a change shows."""
