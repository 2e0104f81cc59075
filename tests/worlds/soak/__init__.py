"""A team's month in minutes, on real processes: servers, schedules, clients, a person, faults from a seed, a check."""
