"""What a person sees and types: the magic, the panel, the terminal.

It shows what the wings below know, and passes on what was typed. It never talks to a provider.
"""
