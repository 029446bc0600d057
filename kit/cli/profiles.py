"""`edgeproof profiles`: what must hold, and why."""

import click

from kit.cli.output import common_options, indented, print_json, say, tell


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
        by = f" for each {', '.join(item.by)}" if item.by else ""
        words = item.direction.replace("_", " ")
        limit = f"{words} {item.limit_text}, {100 * item.confidence:.6g} % confidence"
        tell(f"{item.metric}{by} {limit}", f"{item.id:<18} ")
        indented(item.why)
    say("")
    tell(f"{', '.join(loaded.recipes)}; cheapest by {loaded.cheapest_by}", "variants: ")
