"""One login, from what was typed to the log out; and the registry of this process.

It never draws anything: what a person sees and types is the notebook's.
"""
