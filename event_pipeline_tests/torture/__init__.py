"""Runs are killed at every boundary of their life and at random instants, and nothing may be lost.

`python -m event_pipeline_tests.torture` is the whole of it, bounded in time.
"""
