"""The robcert command: one file a command."""
