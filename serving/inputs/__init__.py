"""Tensors in the forms that people have them in: arrays, tables, pictures. Bytes to tensors and back, no HTTP."""
