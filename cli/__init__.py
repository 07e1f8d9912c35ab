"""The robcert command: one file per command."""
