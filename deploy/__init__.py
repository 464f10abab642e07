"""How Citizen Engaged is run: embedded parts, compose, Kubernetes, shipped programs."""
