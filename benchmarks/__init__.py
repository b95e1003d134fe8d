"""What a score is: benchmarks, baselines, metrics, intervals. Imports finewise, never a branch."""
