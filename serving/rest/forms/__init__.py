"""Predict requests and their answers in other forms than JSON: chosen by Content-Type and Accept, read by inputs."""
