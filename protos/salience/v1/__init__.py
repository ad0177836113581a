"""Generated from the .proto files beside it; do not edit."""
