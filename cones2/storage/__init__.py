"""Files of our own and of strangers: reading with limits, writing without ever leaving half a file."""
