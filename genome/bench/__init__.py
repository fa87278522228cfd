"""What the data layer shows: each goal measured in a process of its own, beside the nearest system."""
