"""The SD card of a virtual board: files, the one being written and the one being printed.

It holds bytes and a position and knows no command. Names are the short upper-case ones of the card; a reset must never
lose a file.
"""


class SdCard:
    """`selected` is the name of the open file, "" for none; `position` counts the bytes read of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.selected = ""
        self.position = 0
        self.printing = False
        self.writing: bytearray | None = None
        self._written_name = ""

    @staticmethod
    def name(text: bytes) -> str:
        """The name in a command, as the card keeps it."""
        return text.decode("latin-1").strip().lstrip("/").upper()

    @property
    def size(self) -> int:
        return len(self.files.get(self.selected, b""))

    def begin_writing(self, name: str) -> None:
        self._written_name, self.writing = name, bytearray()

    def write(self, command: bytes) -> None:
        if self.writing is not None:
            self.writing += command + b"\n"

    def end_writing(self) -> None:
        if self.writing is not None:
            self.files[self._written_name] = bytes(self.writing)
            self.writing = None

    def select(self, name: str) -> bool:
        """Open a file for printing; False when there is none."""
        self.halt()
        if name not in self.files:
            return False
        self.selected, self.position = name, 0
        return True

    def next_command(self) -> bytes | None:
        """The next line that is a command, None at the end of the file."""
        content = self.files.get(self.selected, b"")
        while self.position < len(content):
            end = content.find(b"\n", self.position)
            end = len(content) if end < 0 else end
            line = content[self.position : end].partition(b";")[0].strip()
            self.position = end + 1
            if line:
                return line
        self.position = len(content)
        return None

    def halt(self) -> None:
        """Close what is open; a file being written is lost."""
        self.printing, self.selected, self.position, self.writing = False, "", 0, None
