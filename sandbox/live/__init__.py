"""What runs: live sandboxes as their records, their supervisors and the kernel tell of them."""
