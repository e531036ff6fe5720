"""Messages as they are printed, shown and recorded."""
