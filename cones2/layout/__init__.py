"""Where each subject belongs: regions, the pictures and tables they are read from, and drawing them."""
