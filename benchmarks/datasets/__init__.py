"""The small real data sets that ship with finewise, each with its card, and the scripts that build them."""
