"""How a token is had and kept good.

One function per grant, attempts in a browser, single-flight renewal.

It takes values and gives a `Token` or an error. It never looks for a credential, never asks a
person, and never knows what a session or a notebook is.
"""
