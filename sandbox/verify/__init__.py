"""Whether a live sandbox still is what its plan promises, by what the kernel tells of it now."""
