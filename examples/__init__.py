"""Real models with real data, prepared from files that installed packages carry; nothing is downloaded."""
