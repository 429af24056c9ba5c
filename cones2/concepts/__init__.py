"""What is learned about a subject: residual embeddings."""
