"""farmd turns a paid order into printed, inspected, shipped parts."""
