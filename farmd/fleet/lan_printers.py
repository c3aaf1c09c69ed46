"""Bambu printers in the network that make themselves heard, and the `[[printers]]` block for each.

The command line's only way to them: it may not import a driver itself.
"""

from drivers.bambu.discover import LISTEN_SECONDS, Found, discover

__all__ = ["LISTEN_SECONDS", "Found", "discover", "lan_block"]


def lan_block(found: Found, number: int) -> str:
    """The block of a printer that was found; the access code stands on its screen alone."""
    words = ", ".join(word for word in (found.name, f"firmware {found.firmware}" if found.firmware else "") if word)
    mode = "" if found.lan else "  # on its screen, switch on LAN Only Mode, then Developer Mode"
    name = f"bambu-{number:02d}"
    return (
        f'[[printers]]  # {words or found.serial}\nid = "{name}"\ndriver = "bambu"\nhost = "{found.host}"{mode}\n'
        f'serial = "{found.serial}"\naccess_code_file = "{name}.code"  # a file with the code on its screen, under LAN Only Mode\n'
        f'model = "{found.model}"\nmaterial = "PLA"\ncolor = "#1a1a1a"\n'
    )
