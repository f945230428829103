"""The faults of gateways: what their clients are answered while what is behind them fails."""
