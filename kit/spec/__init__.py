"""What a user asks for, read from TOML with errors that name file, line and key."""

from kit.spec.dataset import load_dataset
from kit.spec.device import list_devices, load_device
from kit.spec.profile import list_profiles, load_profile

__all__ = ["list_devices", "list_profiles", "load_dataset", "load_device", "load_profile"]
