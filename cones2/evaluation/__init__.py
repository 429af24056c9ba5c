"""What came out: suites of scenes, ways to draw them, judges, scores and reports."""
