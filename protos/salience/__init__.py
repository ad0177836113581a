"""The wire contract of Salience; generated code lives in `salience.v1`."""
