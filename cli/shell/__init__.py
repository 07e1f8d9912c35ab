"""Code that the commands share: options, the session, progress, printing."""
