"""Tasks and measures: from targets and predictions to what each row loses, and to a figure with its influence. Pure."""
