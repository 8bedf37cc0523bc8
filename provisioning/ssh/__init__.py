"""A host of one's own, reached by SSH: claimed and released, never rented and never ended."""
