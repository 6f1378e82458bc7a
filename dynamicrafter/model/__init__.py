"""The networks: U-Net, autoencoder, CLIP towers, image projection, and their composition."""
