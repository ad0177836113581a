"""Fuzzing what comes from outside: image files, messages on the wire, options, bundles.

    python -m tests.fuzz                        # every subject, 2,000 inputs each
    python -m tests.fuzz decode --inputs 200000 --seed 7
    python -m tests.fuzz wire --guided --inputs 50000     # by coverage, where atheris is installed

An input may be accepted or refused; refused, it must be by our errors, with a status that blames
the request, in words that show nothing of the server. Anything else is a fault.
"""
