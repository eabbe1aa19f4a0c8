"""HTTP: the REST protocols, health and metrics, on Flask. Everything here parses, calls and renders."""
