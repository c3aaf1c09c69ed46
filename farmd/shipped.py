"""Where the files that come with farmd lie: profiles, the demo's catalog, the example configuration.

Inside an installed package they are beside the code; in a checkout they are in its `config` folder.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def shipped_config() -> Path:
    """The folder with `profiles/`, `catalog/`, `farmd.example.toml` and `demo.toml`."""
    installed = _PACKAGE / "share" / "config"
    return installed if installed.is_dir() else _PACKAGE.parent / "config"
