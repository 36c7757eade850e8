"""Checks of masks and lists, each with an id, a severity and a threshold that is shown with every finding."""
