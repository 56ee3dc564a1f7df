"""The precision of networks on GPUs."""

import torch


def compute_in_float32() -> None:
    """Switch off TF32 in this process: by default cuDNN rounds what a convolution multiplies to 10 bits.

    Scores would differ from those on a CPU in the third digit, and so would those of an exported model. Mixed precision
    (`trainer.precision`), which is faster still, is not affected.
    """
    torch.backends.cudnn.allow_tf32 = False
