"""What every room stands on; imports nothing else of limner."""
