"""The commands of `python -m serving`, a file for each.

Importing TensorFlow takes seconds, so commands that need it import what brings it when they run.
"""
