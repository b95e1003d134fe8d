"""The long-context branch: stretches models with rotary positions and shows how far they really read."""
