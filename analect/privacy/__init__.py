"""Personal data: found, replaced by keyed tokens, sealed under keys that can be destroyed."""
