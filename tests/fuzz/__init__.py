"""Coverage-guided fuzzing of what reads bodies (`make fuzz`), and what it found worth keeping (`corpus`)."""
