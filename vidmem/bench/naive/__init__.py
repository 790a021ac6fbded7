"""Memories as the loops of their references go, with everything computed anew in every step.

What `vidmem bench policies` times policies against, and oracles of the tests.
"""
