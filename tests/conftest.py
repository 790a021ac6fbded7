from hypothesis import settings

# How long one example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None, max_examples=60, print_blob=True)
settings.load_profile("untimed")
