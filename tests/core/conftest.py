"""How often hypothesis tries: enough to find what a small change breaks, little enough to be run all the time."""

from hypothesis import HealthCheck, settings

settings.register_profile("core", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("core")
