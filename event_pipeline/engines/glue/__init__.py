"""AWS Glue as an engine: runs `jobs/transform.py` there, each piece of work by one run at a time.

A run has a folder in the Pipes bucket, `runs/<run>/`, with its request and the messages by which
the job reports (`run_folder`). Before a run is started, a claim on each piece of its work names it
(`job_runs`). So a retry, a second worker, and a worker that comes after one that was killed all
find the run, and follow it or take what it made.
"""

from event_pipeline.engines.glue.transformer import GlueTransformer

__all__ = ["GlueTransformer"]
