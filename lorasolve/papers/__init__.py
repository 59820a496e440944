"""Analysis of the related methods: one module per paper.

The methods themselves are adapters, optimizers and schedules, found in their folders. Here is what their papers
say about them as numbers: rates, bounds, closed forms, constructions and measures.
"""
