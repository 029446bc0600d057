"""Models: load as hostile input, convert, quantize, compare; nothing here touches a device."""
