"""What commands do beside a search: before one, after one, and with what the home holds."""
