"""Herdbook raises a base language model into an instruction follower and keeps its pedigree."""

__version__ = "0.1.0"
