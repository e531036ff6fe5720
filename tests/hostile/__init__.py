"""Clients that are broken or mean, each with a witness pair that must not notice."""
