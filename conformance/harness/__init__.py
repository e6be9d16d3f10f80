"""The machinery behind conformance/run: suites, installation, targets, results. Standard library only.

Start with `suites.py` (what a suite is), then `targets.py` (what it runs against). `check.py` is for the suites' own
programs; `real_redis.py` and `real_kafka.py` start the engines that Atoll stands in for.
"""
