"""Synthetic images: drawn, labelled, learnt from, looked at."""
