"""What a token is good for.

A `requests` session that signs for one origin, and walks through pages.

It never acquires a token itself, and never shows one to another origin.
"""
