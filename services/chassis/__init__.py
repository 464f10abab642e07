"""What every service stands on: transactions that publish, consumers, clocks, schedule, HTTP. It knows no domain word."""
