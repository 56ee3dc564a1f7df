"""Why a photo got its probability: heat maps, how far they can be trusted, and pictures of them."""
