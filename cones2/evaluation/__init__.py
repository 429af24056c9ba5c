"""What came out: judges of sampled pictures and scores."""
