"""Tensors in and out: the dtype table, and JSON to and from numpy."""
