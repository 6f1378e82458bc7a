"""The stages of the recipe: context network, adaptation to video, joint fine-tuning."""
