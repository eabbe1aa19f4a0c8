"""Serve TensorFlow SavedModels over REST."""

__version__ = "0.1.0"
