"""A first profile for a program: what it needs, found by a look at it, written as commented TOML."""
