"""G-code written by hand: a small block that a printer could print, to be broken in every way."""

import math

LAYER, SIDE, HEIGHT = 0.2, 10.0, 2.0
FILAMENT_MM2 = math.pi * 1.75**2 / 4
START = ["G21", "G90", "M83", "M140 S60", "M190 S60", "G28", "M109 S215", "G1 Z0.3 F600", "G1 X60 Y2 E8"]
END = ["M104 S0", "M140 S0", "M107", "M84"]


def layers(x: float = 50, y: float = 50, height: float = HEIGHT, copy: int = 0, flow: float = 1.0) -> list[str]:
    """A solid square block, each layer laid as eleven zigzag strokes that hold its volume."""
    lines: list[str] = []
    extruded = flow * SIDE * SIDE * LAYER / FILAMENT_MM2 / 11
    for number in range(1, round(height / LAYER) + 1):
        lines += [";LAYER_CHANGE", "G92 E0", f"G1 Z{number * LAYER:.3f}", f"; printing object part id:0 copy {copy}"]
        for stroke in range(11):
            near, far = (x, x + SIDE) if stroke % 2 else (x + SIDE, x)
            lines += [f"G1 X{near} Y{y + stroke}", f"G1 X{far} Y{y + stroke} E{extruded:.5f}"]
        lines.append(f"; stop printing object part id:0 copy {copy}")
    return lines
