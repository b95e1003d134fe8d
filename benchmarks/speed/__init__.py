"""How fast this is, against what it is built on: each bench proves that both sides compute the same, then times them."""
