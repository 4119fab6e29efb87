"""Lookbook: generate a product's images once, keep them, reuse them in every store."""
