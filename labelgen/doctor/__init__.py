"""What must be in order on a machine for everything to work, looked at one by one; nothing heavy is imported here."""

from labelgen.doctor.finding import OK, PROBLEM, WARNING, Finding, worst
from labelgen.doctor.look import look_at_everything

__all__ = ["OK", "PROBLEM", "WARNING", "Finding", "look_at_everything", "worst"]
