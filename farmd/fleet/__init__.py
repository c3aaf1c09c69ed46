"""The machines at work: one supervisor per printer, one dispatcher, and a registry of what is seen right now."""
