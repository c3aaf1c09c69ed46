"""The machines: one package per protocol. Nothing here knows of orders, money or the farmd package."""
