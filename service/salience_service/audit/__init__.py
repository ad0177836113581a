"""The audit trail: a record of every explanation, in lines chained so that a change shows."""
