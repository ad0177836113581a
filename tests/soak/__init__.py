"""A soak: a server at full load, beside callers who cancel, run out of time and send nonsense.

    python -m tests.soak --minutes 30

Every answer is compared, bit for bit, with that of an engine that has nobody else to serve. An
answer that is another, or does not come, is a fault; so is a refusal that was not asked for.
"""
