"""Every network as one blueprint; its weights and its card."""
