"""What this host can and cannot enforce, found by trying, and how to mend what it can't."""
