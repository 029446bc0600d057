"""`edgeproof profiles`: what must hold, and why."""

from typing import TYPE_CHECKING

import click

from kit.cli.options import common_options
from kit.cli.output import indented, print_json, say, tell

if TYPE_CHECKING:
    from kit.spec.types import Requirement


@click.group("profiles", invoke_without_command=True, epilog="\b\nExample:\n  edgeproof profiles show wearable")
@common_options
@click.pass_context
def command(ctx: click.Context, as_json: bool, verbose: bool) -> None:
    """List conformance profiles; with `show`, explain one."""
    from kit.spec import list_profiles

    del verbose
    if ctx.invoked_subcommand is not None:
        return
    profiles = list_profiles()
    if as_json:
        print_json(
            {
                "schema": "edgeproof/profiles/1",
                "profiles": [{"name": p.name, "description": p.description, "path": p.path} for p in profiles],
            }
        )
        return
    for profile in profiles:
        tell(profile.description, f"{profile.name:<18} ")


@command.command("show")
@click.argument("profile")
@common_options
@click.pass_context
def show(ctx: click.Context, /, profile: str, as_json: bool, verbose: bool) -> None:
    """Explain what PROFILE (a name or a TOML file) requires."""
    from dataclasses import asdict

    from kit.spec import load_profile

    del verbose
    as_json = as_json or (ctx.parent is not None and ctx.parent.params["as_json"])
    loaded = load_profile(profile)
    if as_json:
        print_json({"schema": "edgeproof/profile/1", "profile": asdict(loaded)})
        return
    tell(f"{loaded.name}: {loaded.description}")
    say("")
    for item in loaded.requirements:
        words = item.direction.replace("_", " ")
        limit = f"{words} {item.limit_text}, {100 * item.confidence:.6g} % confidence"
        tell(f"{item.metric}{_of(item)} {limit}", f"{item.id:<18} ")
        if details := _details(item):
            indented(details)
        indented(item.why)
    say("")
    for spec in loaded.slices:
        numbers = ", ".join(map(str, spec.rows[:8])) + (" ..." if len(spec.rows) > 8 else "")
        rows = spec.where or f"{'row' if len(spec.rows) == 1 else 'rows'} {numbers}"
        tell(f"{rows}{f'. {spec.why}' if spec.why else ''}", f"slice {spec.name}: ")
    if loaded.bins:
        tell(", ".join(f"{name} in {bins} of equally many rows" for name, bins in loaded.bins.items()), "bins: ")
    tell(f"{', '.join(loaded.recipes)}; cheapest by {loaded.cheapest_by}", "variants: ")


def _of(item: "Requirement") -> str:
    """`` of auc for each side, sex, crossed up to 2, on slices falls``."""
    crossed = f", crossed up to {item.cross}," if item.cross > 1 else ""
    return "".join(
        (
            f" of {item.measure}" if item.measure else "",
            f" for each {', '.join(item.by)}{crossed}" if item.by else "",
            f"{' and' if item.by else ''} on {', '.join(item.slices)}" if item.slices else "",
        )
    )


def _details(item: "Requirement") -> str:
    """What else the requirement says; nothing of groups where it has none."""
    grouped = item.by or item.slices or item.metric == "slices.found"
    least = f"at least {item.minimum_rows} rows and {item.minimum_clusters} clusters in each" if grouped else ""
    said = (
        f"harm: {item.harm}" if item.harm else "",
        f"positive: {item.positive}" if item.positive else "",
        f"a row's largest loss: {item.largest:g}" if item.largest is not None else "",
        least,
    )
    return "; ".join(each for each in said if each)
