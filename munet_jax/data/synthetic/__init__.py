"""Synthetic videos with exact masks and motion."""
