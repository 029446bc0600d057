"""Scripts that run in the environments of the search benchmark's peers, which they need not share with ours."""
