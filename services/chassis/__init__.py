"""What every service stands on: transactions that publish, consumers, clocks, HTTP. It knows no domain word."""
