"""How good labels are: pure functions on arrays, and the streaming evaluation of a run against truth."""
