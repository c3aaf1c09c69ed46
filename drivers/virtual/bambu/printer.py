"""A virtual Bambu printer on real sockets of this host: MQTT and files inside TLS, under an access code.

Everything a farm can meet is a method or a knob of `faults`. What truly happened is in `record` and `bed`. A printer without a
`basedir` leaves nothing behind when it stops.
"""

import asyncio
import ssl
import tempfile
from collections.abc import Callable
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Self

from drivers.virtual.bambu.ams import Feeder, Spool
from drivers.virtual.bambu.announce import Announcer, notice
from drivers.virtual.bambu.broker import Broker, House
from drivers.virtual.bambu.card import Card
from drivers.virtual.bambu.certificate import Identity, authority, make_identity
from drivers.virtual.bambu.faults import Faults
from drivers.virtual.bambu.firmware import Firmware
from drivers.virtual.bambu.ftp_session import Visit
from drivers.virtual.bambu.ftps import FileServer
from drivers.virtual.bambu.job import Pace
from drivers.virtual.bambu.models import Ams, model_named
from drivers.virtual.bambu.project import SUFFIX, make_project
from drivers.virtual.bambu.record import Record
from drivers.virtual.bambu.requests import Names, Order
from drivers.virtual.bed import Bed

FOREIGN_NAME = "by-hand"
_REPORT_SECONDS, _LEAST_REPORT_SECONDS = 2.0, 0.1  # of the printer's time, and of the clock
BLACK_PLA = Spool("PLA", "#1A1A1A")


class VirtualBambu:
    """Start it inside the event loop it shall live in; also an async context manager.

    `speed` makes the printer's whole time run faster than the clock, its waits included. Ports 0 take free ones, which stay the
    same over cuts and power losses. `number` ends its serial number. `ejects`: the end of each print clears the bed. `spools` are
    those of the feeder, by place. `announces`: where it makes itself known every five seconds.
    """

    def __init__(
        self,
        model: str = "P1S",
        *,
        host: str = "127.0.0.1",
        number: int = 1,
        access_code: str = "12345678",
        mqtt_port: int = 0,
        ftps_port: int = 0,
        speed: float = 1.0,
        pace: Pace | None = None,
        ejects: bool = False,
        spools: tuple[Spool | None, ...] = (BLACK_PLA,),
        basedir: Path | None = None,
        newest_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        announces: tuple[str, int] | None = None,
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.kind = model_named(model)
        self.host, self.mqtt_port, self.ftps_port = host, mqtt_port, ftps_port
        self.serial = f"{self.kind.prefix}00A{number:09d}"
        self.access_code = access_code
        self.faults, self.record = Faults(), Record()
        self.feeder = Feeder(self.kind.ams)
        for place, spool in enumerate(spools if self.kind.ams is not Ams.NONE else ()):
            self.feeder.spools[place] = spool
        self._scratch = tempfile.TemporaryDirectory(prefix="virtual-bambu-") if basedir is None else None
        root = basedir or Path(self._scratch.name if self._scratch is not None else "")
        self.card = Card(root / "card")
        self.bed = Bed(ejects=ejects, memory=root / "bed.json" if basedir is not None else None)
        self._speed, self._newest = speed, newest_tls
        words = notice(self.kind, self.serial, host)
        self._announcer = Announcer(words, announces) if announces is not None else None
        self._identity: Identity | None = None
        self._zero = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._powered = False
        every = max(_REPORT_SECONDS, _LEAST_REPORT_SECONDS * speed)
        self.firmware = Firmware(
            self.kind,
            self.serial,
            self.card,
            self.bed,
            self.feeder,
            faults=self.faults,
            record=self.record,
            pace=pace,
            report_every=every,
        )
        house = House(self.serial, lambda: self.access_code, self.kind.kills_listeners, self.kind.one_client_per_id)
        self.broker = Broker(
            house, self.faults.wire, received=self._received, joined=self._joined, complain=self.record.complaints.append
        )
        visit = Visit(lambda: self.access_code, self.card, self.faults.upload, self.record, bare_names=not self.kind.host_path)
        self.files = FileServer(self._context, lambda: visit)

    # --- its life ---

    async def start(self) -> None:
        """Serve, as after switching on. Raises `OSError` naming the address when a port is taken."""
        self._identity = await asyncio.to_thread(make_identity, self.serial, await asyncio.to_thread(authority))
        self._zero = asyncio.get_running_loop().time()
        self._powered = True
        try:
            await self.restore()
        except OSError:
            await self.stop()
            raise
        self._pump()

    async def stop(self) -> None:
        """Close the ports and end everything; what happened can still be read. A second call does nothing."""
        self._powered = False
        self._rest()
        await self.cut()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    # --- what it is ---

    @property
    def model(self) -> str:
        return self.kind.name

    @property
    def ca(self) -> str:
        """The certificate, as PEM, that signs the printers of this process."""
        return authority().pem

    @property
    def pin(self) -> str:
        """SHA-256 of its own certificate, in hexadecimal."""
        return self._shown.pin

    @property
    def state(self) -> str:
        """`gcode_state`, without the lag of its reports."""
        return self.firmware.machine.state

    @property
    def now(self) -> float:
        """Seconds of its own time."""
        return (asyncio.get_running_loop().time() - self._zero) * self._speed

    # --- the network ---

    async def cut(self) -> None:
        """Refuse connections and kill those that are open; the print goes on."""
        if self._announcer is not None:
            self._announcer.close()
        await self.broker.close()
        await asyncio.to_thread(self.files.close)

    async def restore(self) -> None:
        """Serve again on the same ports; does nothing for what is served. Raises `OSError`."""
        if not self.broker.serves:
            self.mqtt_port = await self.broker.open(self.host, self.mqtt_port, self._context())
        if not self.files.serves:
            self.ftps_port = self.files.open(self.host, self.ftps_port)
        if self._announcer is not None:
            await self._announcer.open()

    def drop(self) -> None:
        """Kill what is open; new connections are taken."""
        self.broker.drop()
        self.files.drop()

    async def leave_lan_mode(self) -> None:
        """Somebody switches to the cloud: messages are refused at the door, files are not."""
        await self.broker.close()

    async def renew_certificate(self) -> None:
        """As after a factory reset."""
        self._identity = await asyncio.to_thread(make_identity, self.serial, authority())
        await self.cut()
        await self.restore()

    # --- the machine ---

    def clear_bed(self) -> None:
        """An operator takes the part off."""
        self.bed.clear()

    def start_foreign(self, seconds: float = 3600.0, *, name: str = FOREIGN_NAME) -> str:
        """Somebody prints a file of their own at the screen, `seconds` long before `speed`; returns its name on the card.

        Raises `RuntimeError` when the machine is not at rest.
        """
        if self.firmware.machine.busy:
            raise RuntimeError(f"nobody can start a print by hand while the printer is {self.state}")
        self.card.file(f"/{name}{SUFFIX}").write_bytes(make_project(seconds, model=self.kind.code))
        path = f"/{name}{SUFFIX}"
        mapping = tuple(place for place, spool in enumerate(self.feeder.spools) if spool is not None)[:1]
        order = Order(Names(name), f"ftp://{path}", path, "Metadata/plate_1.gcode", bool(mapping), mapping)
        self._at_once(lambda: self.firmware.machine.order(order))
        return path.lstrip("/")

    def pause_by_hand(self) -> None:
        """Somebody presses Pause at the screen."""
        self._at_once(self.firmware.machine.pause)

    def resume_by_hand(self) -> None:
        self._at_once(self.firmware.machine.resume)

    def stop_by_hand(self) -> None:
        self._at_once(self.firmware.machine.stop)

    def dismiss(self) -> None:
        """Somebody closes the dialog of a print that ended: FINISH or FAILED becomes IDLE."""
        self._at_once(self.firmware.machine.dismiss)

    def run_out(self) -> None:
        """The spool in use ends."""
        self._at_once(self.firmware.machine.run_out)

    def refill(self, place: int, spool: Spool = BLACK_PLA) -> None:
        """Somebody puts a spool in."""
        self.feeder.spools[place] = spool
        self._at_once(self.firmware.machine.refresh)

    def fail(self, error: int) -> None:
        """The machine ends its print by itself and shows `error`."""
        self._at_once(lambda: self.firmware.machine.fail(error))

    async def lose_power(self) -> None:
        """Everything goes dark. The part stays on the bed; that a print was running is written nowhere."""
        self._rest()
        self.firmware.switch_off(self.now)
        self._powered = False
        await self.cut()

    async def restore_power(self, *, ghost: bool = False) -> None:
        """It comes up: idle, nothing remembered. `ghost`: it prints the file of the last job again by itself."""
        if self._powered:
            return
        self._powered = True
        self.firmware.switch_on(self.now, ghost=ghost)
        await self.restore()
        self._pump()

    # --- the clock ---

    def _at_once(self, act: Callable[[], None]) -> None:
        self.firmware.advance(self.now)
        act()
        self._pump()

    def _received(self, payload: bytes) -> None:
        self.firmware.receive(payload, self.now)
        self._pump()

    def _joined(self) -> None:
        self.firmware.joined(self.now)
        self._pump()

    def _pump(self) -> None:
        """Let what is due happen, send what there is to send, and come again when there is more."""
        self._rest()
        if not self._powered:
            return
        self.firmware.advance(self.now)
        for payload in self.firmware.take():
            self.broker.publish(payload)
        wait = (self.firmware.next_event() - self.now) / self._speed
        if wait < inf:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, wait), self._pump)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _shown(self) -> Identity:
        if self._identity is None:
            raise RuntimeError("this virtual printer was never started")
        return self._identity

    def _context(self) -> ssl.SSLContext:
        return self._shown.server_context(self._newest)
