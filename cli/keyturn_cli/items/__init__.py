"""`keyturn quarantine` and `keyturn deadletter`: what waits for a person besides parked keys."""
