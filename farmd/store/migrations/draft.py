"""Writes the next revision from the difference between the migrations and `tables`, for a person to read and correct.

.venv/bin/python -m farmd.store.migrations.draft "jobs remember their due date"
"""

import sys
import tempfile
from pathlib import Path

from alembic import command

from farmd.store.engine import open_engine
from farmd.store.schema import migrations_config, upgrade


def main(words: str) -> None:
    """Migrate an empty store to the newest revision and write down what is missing."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'draft.db'}")
        upgrade(engine)
        with engine.connect() as connection:
            config = migrations_config(connection)
            number = len(list((Path(__file__).parent / "versions").glob("[0-9]*.py"))) + 1
            command.revision(config, words, autogenerate=True, rev_id=f"{number:04}")
        engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
