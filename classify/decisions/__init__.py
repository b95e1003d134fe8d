"""From a classifier's outputs to decisions: calibration, thresholds, abstention, conformal sets. Pure NumPy, no torch."""
