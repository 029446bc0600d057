"""`edgeproof battery`: from energy to hours, and whether the model may cost that much of them."""

from pathlib import Path
from typing import Any

import click

from kit.cli.options import F, common_options, runs_option
from kit.cli.output import VERDICT_EXIT_CODES

EXAMPLES = """\b
Examples:
  edgeproof battery --device watch-emulated --energy-per-inference "1.2 mJ" --rate "1 per second" --budget "15 %"
  edgeproof battery --capacity "230 mAh" --voltage "3 V" --other-load "30 uW" --chemistry lithium-primary \\
    --energy-per-inference "50 uJ to 70 uJ" --rate "6 per minute"
  edgeproof battery --run 20260101-120000-ab12cd --variant int8-per-channel --profile wearable
  edgeproof battery --device my-tag.toml --otii cell.json --energy-per-inference "50 uJ" --inference-time "8 ms" \\
    --rate "6 per minute" --budget "2 years"
"""

BATTERY_OPTIONS = {
    "capacity": "Charge when full, with --voltage.",
    "voltage": "Nominal voltage.",
    "energy": "Energy when full, in place of --capacity and --voltage.",
    "other_load": "Mean power without the model.",
    "other_load_tolerance": "How far --other-load may be off, each way.",
    "reserve": "Left when the device shuts down.",
    "chemistry": "lithium-ion, lithium-primary, lithium-thionyl, alkaline, nimh or lead-acid.",
    "tolerance": "How far the capacity may be off, each way.",
    "health": "What age has left of the capacity; may be a range.",
    "self_discharge": "Lost in a month at 20 °C; may be a range.",
    "temperature": "Where it is used, in °C; may be a range.",
    "derating": "What that temperature lets be drawn; may be a range.",
    "efficiency": "Of the regulator before loads and meter; may be a range.",
    "resistance": "Inside the battery; may be a range.",
    "cutoff": "Voltage at which the device stops.",
    "transmit": 'What is sent: "150 mW for 80 ms, 6 per minute".',
    "otii": "A battery profile of Otii's (JSON).",
}
"""Each key of a device file's [battery], and its line in the help."""


def battery_options(function: F) -> F:
    """Add an option for each key of a battery."""
    for name, text in reversed(BATTERY_OPTIONS.items()):
        metavar = "FILE" if name == "otii" else "TEXT"
        function = click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text)(function)
    return function


@click.command("battery", epilog=EXAMPLES)
@click.option("--device", help="Device whose [battery] it is: a name or a TOML file; options below go before it.")
@click.option("--energy-per-inference", metavar="ENERGY", help='Above idle: "1.2 mJ", or "1.1 mJ to 1.3 mJ".')
@click.option("--inference-time", metavar="TIME", help="How long one takes, which tells its peak.")
@click.option("--run", "run_name", metavar="RUN", help="Take the energy that this run measured.")
@click.option("--variant", help="Which variant of the run, or model of a bench: its file name, or letter.")
@click.option("--rate", metavar="RATE", help='How often the model runs: "1 per second".')
@click.option("--profile", help="Conformance profile: its rate, and a verdict on its battery requirements.")
@click.option("--budget", metavar="SHARE|LIFE", help='What it may cost ("15 %") or must leave ("36 h").')
@battery_options
@runs_option
@common_options
def command(
    device: str | None,
    energy_per_inference: str | None,
    inference_time: str | None,
    run_name: str | None,
    variant: str | None,
    rate: str | None,
    profile: str | None,
    budget: str | None,
    runs: Path,
    as_json: bool,
    verbose: bool,
    **battery: Any,
) -> int:
    """Tell how long a battery lasts without and with a model, what share of life the model costs, and what dominates.

    Every figure is a range [least, greatest] over all that is known of the battery; what nobody stated is assumed from
    its chemistry and said. With --budget or a profile's, it tells at which rate the model would meet it.

    Exit code: 0; with --profile, 0 if its battery requirements pass, 1 if one fails, 3 if it is undecided.
    """
    from kit.cli.battery_text import answer_object, tell_answer
    from kit.cli.certify import find_run
    from kit.cli.output import print_json
    from kit.pipeline.battery import Question, answer

    del verbose
    found = answer(
        Question(
            battery={key: value for key, value in battery.items() if value is not None},
            device=device,
            energy=energy_per_inference,
            inference_time=inference_time,
            run=find_run(run_name, runs) if run_name else None,
            variant=variant,
            rate=rate,
            profile=profile,
            budget=budget,
        )
    )
    if as_json:
        print_json(answer_object(found))
    else:
        tell_answer(found)
    return VERDICT_EXIT_CODES[found.verdict] if found.verdict else 0
