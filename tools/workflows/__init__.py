"""The pack's workflow templates as descriptions, and how they are built in the real frontend."""
