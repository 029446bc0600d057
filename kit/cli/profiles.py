"""`edgeproof profiles`: what must hold, and why."""

import click

from kit.cli.output import common_options, print_json, say


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
        say(f"{profile.name:<18} {profile.description}")


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
    say(f"{loaded.name}: {loaded.description}")
    say("")
    for item in loaded.requirements:
        by = f" for each {', '.join(item.by)}" if item.by else ""
        words = item.direction.replace("_", " ")
        say(f"{item.id:<18} {item.metric}{by} {words} {item.limit_text}, {100 * item.confidence:.6g} % confidence")
        if item.why:
            say(f"    {item.why}")
    say("")
    say(f"variants: {', '.join(loaded.recipes)}; cheapest by {loaded.cheapest_by}")
