"""Face or background: a face detector's second stage, not trained here, on small photographs."""
