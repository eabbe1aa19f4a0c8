"""Models: what ought to be loaded, what is, and how it runs."""
