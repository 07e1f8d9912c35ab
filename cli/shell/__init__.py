"""What the commands share: options, the session, progress, printing."""
