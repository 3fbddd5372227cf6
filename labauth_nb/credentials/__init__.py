"""Where the value of a field comes from.

Environment, .env, vendors' files, presets, what is remembered.

Every value keeps its source and how far that is trusted. It never sends a request, and never asks a
person.
"""
