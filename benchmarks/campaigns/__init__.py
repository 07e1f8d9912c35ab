"""Mutated files of every kind, each loaded in a process of its own: what becomes of robcert."""
