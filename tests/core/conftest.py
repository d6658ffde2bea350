"""Settings of hypothesis for the property tests: the speed of the machine is no reason to fail."""

from hypothesis import HealthCheck, settings

settings.register_profile("core", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("core")
