"""Two tiny models of a made-up language, trained on the spot: small enough that stretching shows its effect on a laptop."""
