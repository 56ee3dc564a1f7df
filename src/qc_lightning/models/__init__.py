"""The networks, and the LightningModule around them."""
