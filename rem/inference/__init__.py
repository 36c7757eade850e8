"""Choices of one prediction that are not in the weights: protocol, noise, precision, memory."""
