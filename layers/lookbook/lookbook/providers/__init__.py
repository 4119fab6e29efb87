"""The ways to make an image: CatVTON on a GPU of your own, FASHN, OpenAI."""
