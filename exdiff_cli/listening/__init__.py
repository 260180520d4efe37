"""Blind listening tests: which excerpts, how they are levelled and stored, the page, its key, and what answers say."""
