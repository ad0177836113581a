"""Salience's service: explanations of image classifiers, in process or over gRPC."""

import os

# ONNX Runtime, from 1.29 on, tells Microsoft of every session: the names and digests of models,
# the machine, and an identifier that it keeps among the user's files. It reads this once, before
# its first session, and turning it off later is too late: so here, before anything can load it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
