"""What each algorithm takes on a GPU."""
