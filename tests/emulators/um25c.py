"""An RDTech UM24C, UM25C or UM34C: 130 bytes for each F0, with that model's scales, accumulators and checksum."""

import argparse
import time

from tests.emulators.pty_meter import PtyMeter, parser

IDS = {"UM24C": 0x0963, "UM25C": 0x09C9, "UM34C": 0x0D4C}
STEPS = {"UM24C": (0.01, 0.001), "UM25C": (0.001, 0.0001), "UM34C": (0.01, 0.001)}
_XOR = (
    *(1, 3, 7, 9, 15, 17, 19, 23, 31, 39, 41, 45, 49, 53, 55, 57, 59, 63, 67, 69, 73, 79, 83, 89, 97, 99),
    *(109, 111, 113, 119, 121, 127),
)


def answer(model: str, voltage_v: float, current_a: float, *, group: int, charge_mah: int, energy_mwh: int) -> bytes:
    """One answer, as the meter would round it."""
    volt, ampere = STEPS[model]
    data = bytearray(130)
    data[0:2] = IDS[model].to_bytes(2, "big")
    data[2:4] = round(voltage_v / volt).to_bytes(2, "big")
    data[4:6] = round(current_a / ampere).to_bytes(2, "big")
    data[6:10] = round(voltage_v * current_a * 1000).to_bytes(4, "big")
    data[10:14] = (25).to_bytes(2, "big") + (77).to_bytes(2, "big")
    data[14:16] = group.to_bytes(2, "big")
    at = 16 + 8 * group
    data[at : at + 8] = charge_mah.to_bytes(4, "big") + energy_mwh.to_bytes(4, "big")
    if model == "UM34C":
        data[128], data[129] = 0, 0
        for place in _XOR:
            data[129] ^= data[place]
    else:
        data[128:] = b"\xff\xf1"
    return bytes(data)


class Um25c(PtyMeter):
    """5.1 V; 0.5 A, and 1.5 A each other half second, unless steady; or 10 mA more at each question (`ramp`).

    `mute`, `damage`, `late`: answers not given, spoilt, given `late_s` later.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self._start_s, self._last_s, self._energy_j, self._asked = time.monotonic(), 0.0, 0.0, 0
        self._late = list[tuple[float, bytes]]()
        self.report |= {"answers": 0, "asked": 0, "not_answered": 0, "asked_ns": []}

    def obey(self, data: bytes) -> None:
        for byte in data:
            if byte == 0xF0:
                self._answer(time.monotonic() - self._start_s)

    def tick(self, now_s: float) -> None:
        if self.options.unplug_s and now_s - self._start_s > self.options.unplug_s:
            self.unplug()
        while self._late and self._late[0][0] <= now_s:
            self.say(self._late.pop(0)[1])

    def _answer(self, t_s: float) -> None:
        self._asked += 1
        current_a = 1.5 if t_s % 1.0 < 0.5 and not self.options.steady else 0.5
        if self.options.ramp:
            current_a = 0.01 * self._asked
        self._energy_j += 5.1 * current_a * (t_s - self._last_s) * self.options.hurry
        self._last_s = t_s
        self.report["asked"] = self._asked
        self.report["asked_ns"].append(time.monotonic_ns())
        if str(self._asked) in self.options.mute.split(","):
            self.report["not_answered"] += 1
            return
        data = answer(
            self.options.model, 5.1, current_a, group=self.options.group,
            charge_mah=int(self._energy_j / 5.1 / 3.6), energy_mwh=int(self._energy_j / 3.6),
        )  # fmt: skip
        if str(self._asked) in self.options.damage.split(","):
            self.report["not_answered"] += 1
            data = data[:-2] + b"\x12\x34"
        if str(self._asked) in self.options.late.split(","):
            self._late.append((time.monotonic() + self.options.late_s, data))
        else:
            self.say(data)
        self.report["answers"] += 1


def main() -> None:
    """Until its input ends."""
    options = parser()
    options.add_argument("--model", default="UM25C")
    options.add_argument("--steady", action="store_true")
    options.add_argument("--group", type=int, default=3)
    options.add_argument("--mute", default="")
    options.add_argument("--damage", default="")
    options.add_argument("--ramp", action="store_true")
    options.add_argument("--late", default="")
    options.add_argument("--late-s", type=float, default=0.0)
    options.add_argument("--unplug-s", type=float, default=0.0)
    options.add_argument("--hurry", type=float, default=1.0)
    arguments: argparse.Namespace = options.parse_args()
    Um25c(arguments).run()


if __name__ == "__main__":
    main()
