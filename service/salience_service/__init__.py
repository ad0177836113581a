"""Salience's service: explanations of image classifiers, in process or over gRPC."""
