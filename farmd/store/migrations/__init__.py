"""One file per change of the store's shape, in order. Never edit one that was released; add the next."""
