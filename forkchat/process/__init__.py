"""Processes: the master and what it forks; a worker and its peers; the private services."""
